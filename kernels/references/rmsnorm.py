"""RMSNorm and the rounding of activations in plain torch."""

import torch

QUANT_BLOCK = 256


def rmsnorm(x: torch.Tensor, weight: torch.Tensor, epsilon: float) -> torch.Tensor:
    """x: [rows, columns]; returns float32."""
    x = x.float()
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + epsilon) * weight.float()


def quantize(x: torch.Tensor, block: int = QUANT_BLOCK) -> tuple[torch.Tensor, torch.Tensor]:
    """x: [.., columns] float32 to int8 and one scale in `block` values [.., ceil(columns / block)], as the CPU does."""
    columns = x.shape[-1]
    tiles = torch.nn.functional.pad(x, (0, -columns % block)).unflatten(-1, (-1, block))
    magnitude = tiles.abs().amax(-1, keepdim=True)
    # A quotient of tensors: torch takes `127 / x` as 127 * (1 / x), rounded twice.
    inverse = torch.where(magnitude > 0, torch.full_like(magnitude, 127) / magnitude, 0.0)
    quants = (tiles * inverse).clamp(-127, 127).round().to(torch.int8)
    return quants.flatten(-2)[..., :columns], magnitude.squeeze(-1) / 127


def dequantize(quants: torch.Tensor, scales: torch.Tensor, block: int = QUANT_BLOCK) -> torch.Tensor:
    """The inverse: float32 of the shape of quants."""
    return quants.float() * scales.repeat_interleave(block, -1)[..., : quants.shape[-1]]
