"""silu(gate) * up in plain torch."""

import torch


def silu_mul(gate_up: torch.Tensor) -> torch.Tensor:
    """gate_up: [rows, 2 * columns]; returns [rows, columns] float32."""
    gate, up = gate_up.float().chunk(2, -1)
    return torch.nn.functional.silu(gate) * up
