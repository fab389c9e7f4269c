"""The text that NVIDIA's compiler takes computes what the expressions of codes.py do: the same bits."""

import numpy as np
import pytest
import torch

from qwen3edge.kernels.codes_ptx import step_text, weight_text, zero_text
from qwen3edge.kernels.matmul_plan import half_plan
from qwen3edge.kernels.panels import PACKED_FORMATS
from qwen3edge.kernels.quantize_activations import quantize_activations
from qwen3edge.kernels.quantized_matmul import quantized_matmul, rounded_matmul
from tests.kernels import ptx
from tests.kernels.bfloat16 import widened
from tests.kernels.matrices import activations, matrix_of

tl = pytest.importorskip("triton.language")
QUANTIZED = sorted(name for name, fmt in PACKED_FORMATS.items() if fmt.kind != "dense")
TYPES = {"fp16": tl.float16, "bf16": tl.bfloat16}
UNIT = 8192


def both(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    return low.astype(np.uint32) | high.astype(np.uint32) << 16


def halves(pairs: np.ndarray, dtype: str) -> list[np.ndarray]:
    bits = [(pairs & 0xFFFF).astype(np.uint16), (pairs >> 16).astype(np.uint16)]
    return [part.view(np.float16).astype(np.float32) if dtype == "fp16" else widened(part) for part in bits]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("plane", range(4))
def test_every_code_step_and_offset(plane, dtype):
    """All 4-bit codes with all steps and offsets, in both halves, beside other bits: 2^-13 of s * q + z, exactly."""
    rng = np.random.default_rng(plane)
    q, s, z = (grid.reshape(-1) for grid in np.meshgrid(np.arange(16), np.arange(1, 17), np.arange(-128, 128)))
    word = rng.integers(0, 1 << 16, q.size) & ~(15 << 4 * plane) | q << 4 * plane
    pair = s | (z + 128) << 8
    other_word, other_pair = np.roll(word, 7), np.roll(pair, 7)
    pairs = both(pair, other_pair)
    step = ptx.run(step_text(plane % 2 == 1, TYPES[dtype]), [pairs])
    zero = ptx.run(zero_text(0, TYPES[dtype]), [pairs])
    low, high = halves(ptx.run(weight_text(plane, 4, 0, TYPES[dtype]), [both(word, other_word), step, zero]), dtype)
    # A weight fits int8; eight significant bits are all that bf16 has.
    fits = np.abs(s * q + z) <= 128
    assert fits.sum() > 20_000
    assert (low * UNIT == s * q + z)[fits].all()
    assert (high * UNIT == np.roll(s * q + z, 7))[np.roll(fits, 7)].all()


@pytest.fixture
def as_ptx(monkeypatch):
    """A function that runs what it is given as for NVIDIA, with the configurations of the interpreter."""
    monkeypatch.setattr(ptx.InterpreterBuilder, "create_inline_asm", ptx.InterpreterBuilder.create_inline_asm)
    ptx.install()

    def run(product):
        with monkeypatch.context() as patched:
            for op in ("matmul_a16", "matmul_a8"):
                patched.setattr(f"qwen3edge.kernels.{op}.target_of", lambda _: "sm_none")
            return product()

    assert half_plan(PACKED_FORMATS["q8"], 1, 16, 32, torch.float16, "sm_none").constants["PTX"]
    return run


@pytest.mark.parametrize("name", QUANTIZED)
def test_products_are_the_same(name, as_ptx, seed):
    fmt = PACKED_FORMATS[name]
    columns = 128 + fmt.column_unit  # not whole tiles
    matrix = matrix_of(name, 37, columns, seed)
    for dtype, rows in ((torch.float16, 3), (torch.bfloat16, 3), (torch.bfloat16, 20)):
        x = activations(rows, columns, dtype, seed + rows)
        plain = quantized_matmul(x, matrix, wide=True)
        torch.testing.assert_close(as_ptx(lambda x=x: quantized_matmul(x, matrix, wide=True)), plain, rtol=0, atol=0)
    rounded = quantize_activations(x, fmt.block)
    plain = rounded_matmul(*rounded, matrix, torch.float32)
    torch.testing.assert_close(as_ptx(lambda: rounded_matmul(*rounded, matrix, torch.float32)), plain, rtol=0, atol=0)
