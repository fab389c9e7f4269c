"""Products of int8 activations: exact in a block, so they are held to float32's accuracy, not to fp16's."""

import pytest
import torch

from qwen3edge.kernels import configuration
from qwen3edge.kernels.errors import KernelShapeError, KernelTypeError
from qwen3edge.kernels.matmul_a8 import matmul_a8, matmul_a8_gated, matmul_a8_parts
from qwen3edge.kernels.packing import TILE, DeviceMatrix
from qwen3edge.kernels.panels import PACKED_FORMATS
from qwen3edge.kernels.quantize_activations import quantize_activations
from qwen3edge.kernels.quantized_matmul import gated_product, product_parts, quantized_matmul, rounded_matmul
from qwen3edge.kernels.references import quantized_matmul as reference
from qwen3edge.kernels.references.silu_mul import silu_mul
from tests.kernels.closeness import assert_close, errors
from tests.kernels.matrices import activations, matrix_of, packed_of

QUANTIZED = sorted(name for name, fmt in PACKED_FORMATS.items() if fmt.kind != "dense")
# Float32 sums of some dozen blocks with outliers, each within a few units in the last place of the largest; products in
# fp16 would err by 1e-3.
EXACT = 1e-5


@pytest.mark.parametrize("name", QUANTIZED)
def test_every_format(name, seed):
    fmt = PACKED_FORMATS[name]
    columns = 384 + fmt.column_unit % TILE  # no whole blocks of 256, a short tile
    matrix = matrix_of(name, 37, columns, seed)
    for rows in (1, 35):
        rounded = quantize_activations(activations(rows, columns, torch.bfloat16, seed + rows), fmt.block)
        y = rounded_matmul(*rounded, matrix, torch.float32)
        largest, _ = errors(y, reference.rounded_matmul(*rounded[:2], matrix))
        assert largest <= EXACT
        assert_close(rounded_matmul(*rounded, matrix, torch.bfloat16), y)


CONFIGURATIONS = {
    "plain": {"BLOCK_M": 32, "BLOCK_N": 32, "SWAPPED": 0, "num_warps": 4, "num_stages": 2},
    "swapped": {"BLOCK_M": 32, "BLOCK_N": 32, "SWAPPED": 1, "num_warps": 4, "num_stages": 2},
    "split": {"BLOCK_M": 16, "BLOCK_N": 16, "SWAPPED": 1, "num_warps": 1, "num_stages": 2, "programs": 64},
}


@pytest.mark.parametrize("way", CONFIGURATIONS)
@pytest.mark.parametrize("name", ["q4g64", "q4a32", "q4z32", "q6z32", "q8"])
def test_every_way_to_run(name, way, monkeypatch, seed):
    monkeypatch.setattr(configuration, "_read", lambda _: {"matmul_a8": [CONFIGURATIONS[way]]})
    columns = 640
    matrix = matrix_of(name, 48, columns, seed)
    rounded = quantize_activations(activations(3, columns, torch.float16, seed), matrix.packed_format.block)
    residual = activations(3, 48, torch.float16, seed + 1)
    y = rounded_matmul(*rounded, matrix, torch.float32, residual=residual)
    largest, _ = errors(y, reference.rounded_matmul(*rounded[:2], matrix) + residual.float())
    assert largest <= EXACT


@pytest.mark.parametrize("way", CONFIGURATIONS)
@pytest.mark.parametrize("name", ["q4a32", "q4z64", "q8", "q8g32"])
def test_parts_and_gates(name, way, monkeypatch, seed):
    """Parts add up to the product; gate and up end in SiLU, which no part of a sum goes through."""
    monkeypatch.setattr(configuration, "_read", lambda _: {"matmul_a8": [CONFIGURATIONS[way]]})
    columns, ffn = 640, 48
    data = [(packed_of(name, ffn, columns, seed + i), ffn) for i in range(2)]
    both, gate_up = (
        DeviceMatrix.stacked(name, data, columns, "cpu", torch.bfloat16, in_turn) for in_turn in (False, True)
    )
    x = activations(3, columns, torch.float16, seed)
    quants, scales, _ = quantize_activations(x, both.packed_format.block)
    expected = reference.rounded_matmul(quants, scales, both)
    parts = product_parts(x, [both], int8=True)
    assert (len(parts) > 1) == (way == "split")
    assert errors(parts.sum(0), expected)[0] <= EXACT
    assert_close(gated_product(x, gate_up, int8=True), silu_mul(expected))


def test_largest_sums_are_exact():
    """Codes of -128 and activations of 127 everywhere: the sum that must stay below 2^22."""
    matrix = matrix_of("q8", 16, 256, 0)
    matrix.words.fill_(-32640)  # 0x8080
    matrix.scales.fill_(1.0)
    quants = torch.full((1, 256), 127, dtype=torch.int8)
    y = rounded_matmul(quants, torch.ones(1, 1), None, matrix, torch.float32)
    assert (y == -256 * 128 * 127).all()


@pytest.mark.parametrize("name", ["q4z32", "q8g32"])
def test_rounding_costs_little(name, seed):
    x = torch.randn(5, 512, generator=torch.Generator().manual_seed(seed)).half()
    matrix = matrix_of(name, 64, 512, seed)
    _, rms = errors(quantized_matmul(x, matrix, int8=True), reference.quantized_matmul(x, matrix))
    assert 1e-4 < rms < 2e-2


def test_no_rows(seed):
    matrix = matrix_of("q4z32", 32, 64, seed)
    assert quantized_matmul(torch.empty(0, 64, dtype=torch.float16), matrix, int8=True).shape == (0, 32)


def test_not_a_number_is_passed_on(seed):
    matrix = matrix_of("q4g32", 32, 64, seed)
    x = activations(2, 64, torch.float16, seed)
    x[1, 3] = float("nan")
    y = quantized_matmul(x, matrix, int8=True)
    assert y[1].isnan().all() and not y[0].isnan().any()


@pytest.mark.parametrize("name", ["q4a32", "q4z32", "q6z32"])
def test_opcheck(name, seed):
    matrix = matrix_of(name, 32, 128, seed)
    quants, scales, sums = quantize_activations(activations(2, 128, torch.float16, seed), matrix.packed_format.block)
    parts = (matrix.words, matrix.high, matrix.scales, matrix.offsets, matrix.steps, None, name, 32, torch.bfloat16)
    given = (quants, scales, sums if name == "q4a32" else None)
    torch.library.opcheck(matmul_a8, (*given, *parts))
    torch.library.opcheck(matmul_a8_parts, (*given, *parts[:5], name, 32))
    torch.library.opcheck(matmul_a8_gated, (*given, *parts[:5], name, 32, torch.bfloat16))


def test_refused(seed):
    matrix = matrix_of("q4a64", 32, 128, seed)
    x = activations(2, 128, torch.float16, seed)
    quants, scales, sums = quantize_activations(x, 64)
    with pytest.raises(KernelTypeError, match=r"quants: expected torch.int8"):
        rounded_matmul(quants.short(), scales, sums, matrix, torch.float16)
    with pytest.raises(KernelShapeError, match="scales_x: expected shape"):
        rounded_matmul(*quantize_activations(x, 32), matrix, torch.float16)
    with pytest.raises(KernelTypeError, match="sums_x: expected a tensor for q4a64"):
        rounded_matmul(quants, scales, None, matrix, torch.float16)
    with pytest.raises(KernelTypeError, match="dtype: expected float16"):
        rounded_matmul(quants, scales, sums, matrix, torch.float64)
    with pytest.raises(KernelTypeError, match="matrix: expected a quantized one"):
        rounded_matmul(quants, scales, sums, matrix_of("bf16", 32, 128, seed), torch.float16)
