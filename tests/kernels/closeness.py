"""When a kernel's result counts as its reference's: one metric and one pair of bounds for every kernel."""

import torch

MAX_ERROR = 2e-2
RMS_ERROR = 4e-3


def errors(found: torch.Tensor, expected: torch.Tensor) -> tuple[float, float]:
    """The largest and the RMS error, each relative to max(rms(expected), |expected|); NaN in either gives NaN."""
    assert found.shape == expected.shape, f"expected {tuple(expected.shape)}, found {tuple(found.shape)}"
    if expected.numel() == 0:
        return 0.0, 0.0
    a, b = found.double(), expected.double()
    scale = b.abs().clamp(min=b.square().mean().sqrt().clamp(min=1e-30).item())
    # An infinity that both have is no error; one that only one has is.
    error = torch.where(a == b, 0.0, (a - b) / scale).abs()
    return error.max().item(), error.square().mean().sqrt().item()


def assert_close(found: torch.Tensor, expected: torch.Tensor, *, scale: float = 1.0) -> None:
    """Within both bounds, times scale; NaN never passes."""
    largest, rms = errors(found, expected)
    # Written so that a NaN fails.
    assert largest <= MAX_ERROR * scale and rms <= RMS_ERROR * scale, f"max error {largest:.3g}, RMS {rms:.3g}"
