"""What the compiled kernels reach by Triton release: torch's CUDA build pins one, its CPU build takes the newest."""

import pytest
import triton

_RELEASE = tuple(int(part) for part in triton.__version__.split(".")[:2])

# Instructions and registers on sm_87 that were reached, and some room.
_BARS = {
    (3, 7): {
        "attention_decode": (2200, 168),
        "attention_step": (2000, 128),
        "attention_prefill": (2200, 255),  # 1,944 and 249
        "rope_cache": (980, 64),  # 952
        "add_rmsnorm": (500, 64),
    },
    (3, 9): {
        "attention_decode": (2200, 160),  # 2,040 and 128, of one token 1,552; with a bf16 cache 1,776 and 147
        "attention_step": (2000, 128),  # 1,832 and 121
        "attention_prefill": (2200, 200),  # 2,008 and 185
        "rope_cache": (980, 64),  # 928 and 48
        "add_rmsnorm": (500, 64),  # 440 and 59
    },
}
# By release, what spills there: kernel and target to registers.
_SPILLS = {
    (3, 7): {
        ("matmul_a8", "gfx1100"): 57,
        ("moe_matmul", "gfx1100"): 34,
    },
}


def bars() -> dict[str, tuple[int, int]]:
    """Instructions and registers by the beginning of a kernel's name, of the newest release up to this one."""
    return _BARS[max((release for release in _BARS if release <= _RELEASE), default=min(_BARS))]


def expect_spills(request: pytest.FixtureRequest, kernel: str, target: str) -> None:
    """Marks a test that fails on this release because of a kernel's spills, which are open."""
    spilled = _SPILLS.get(_RELEASE, {}).get((kernel, target))
    if spilled:
        reason = f"open: {kernel} spills {spilled} on {target} by Triton {triton.__version__} (gpu-static.md)"
        request.applymarker(pytest.mark.xfail(strict=True, raises=AssertionError, reason=reason))
