"""Products against float32 on the weights that the planes stand for."""

import dataclasses

import pytest
import torch

from qwen3edge.kernels import configuration
from qwen3edge.kernels.arguments import expect_blocks
from qwen3edge.kernels.errors import KernelShapeError, KernelTypeError
from qwen3edge.kernels.matmul_a16 import matmul_a16, matmul_a16_gated, matmul_a16_parts
from qwen3edge.kernels.matmul_pair import matmul_pair
from qwen3edge.kernels.matmul_parts import MatrixParts, check_parts, part_types
from qwen3edge.kernels.matmul_plan import half_plan
from qwen3edge.kernels.packing import TILE, DeviceMatrix
from qwen3edge.kernels.panels import PACKED_FORMATS
from qwen3edge.kernels.quantized_matmul import gated_product, product_parts, quantized_matmul
from qwen3edge.kernels.references import quantized_matmul as reference
from qwen3edge.kernels.references.silu_mul import silu_mul
from tests.kernels.closeness import assert_close
from tests.kernels.matrices import activations, matrix_of, packed_of

QUANTIZED = sorted(name for name, fmt in PACKED_FORMATS.items() if fmt.kind != "dense")
TYPES = [torch.float16, torch.bfloat16]


@pytest.mark.parametrize("dtype", TYPES, ids=["fp16", "bf16"])
@pytest.mark.parametrize("name", QUANTIZED)
def test_every_format(name, dtype, seed):
    fmt = PACKED_FORMATS[name]
    columns = 384 + fmt.column_unit % TILE  # no whole blocks of 256, a short tile
    matrix = matrix_of(name, 37, columns, seed)
    for rows in (1, 35):
        x = activations(rows, columns, dtype, seed + rows)
        y = quantized_matmul(x, matrix)
        assert y.dtype == dtype
        assert_close(y, reference.quantized_matmul(x, matrix))


@pytest.mark.parametrize("name", ["bf16", "f32"])
def test_unquantized(name, seed):
    matrix = matrix_of(name, 37, 96, seed)
    x = activations(5, 96, torch.bfloat16, seed)
    residual = activations(5, 37, torch.float32, seed + 1)
    assert_close(quantized_matmul(x, matrix, residual=residual), reference.quantized_matmul(x, matrix, residual))


def parts(matrix: DeviceMatrix, residual: torch.Tensor | None = None, **changed: torch.Tensor) -> list:
    """What matmul_a16 takes after x."""
    given = {name: getattr(matrix, name) for name in ("words", "high", "scales", "offsets", "steps")} | changed
    return [*given.values(), residual, matrix.format, matrix.rows]


CONFIGURATIONS = {
    "plain": {"BLOCK_M": 64, "BLOCK_N": 64, "SWAPPED": 0, "num_warps": 4, "num_stages": 2},
    "swapped": {"BLOCK_M": 64, "BLOCK_N": 32, "SWAPPED": 1, "num_warps": 4, "num_stages": 2},
    "split": {"BLOCK_M": 16, "BLOCK_N": 16, "SWAPPED": 1, "num_warps": 1, "num_stages": 2, "programs": 64},
    "split, plain": {"BLOCK_M": 64, "BLOCK_N": 64, "SWAPPED": 0, "num_warps": 4, "num_stages": 2, "programs": 64},
}


@pytest.mark.parametrize("way", CONFIGURATIONS)
@pytest.mark.parametrize("name", ["q4g32", "q4g128", "q4a64", "q4z32", "q6z32", "q8"])
def test_every_way_to_run(name, way, monkeypatch, seed):
    monkeypatch.setattr(configuration, "_read", lambda _: {"matmul_a16": [CONFIGURATIONS[way]]})
    columns = 640
    matrix = matrix_of(name, 48, columns, seed)
    for rows, dtype in ((3, torch.bfloat16), (20 if "split" in way else 70, torch.float16)):
        plan = half_plan(matrix.packed_format, rows, 48, columns, dtype, "default")
        assert (plan.constants["SPLITS"] > 1) == ("split" in way)
        x = activations(rows, columns, dtype, seed + rows)
        residual = activations(rows, 48, dtype, seed + rows + 1)
        wide = quantized_matmul(x, matrix, residual=residual, wide=True)
        assert wide.dtype == torch.float32
        assert_close(wide, reference.quantized_matmul(x, matrix, residual))
        assert_close(quantized_matmul(x, matrix), reference.quantized_matmul(x, matrix))


def test_codes_in_float16_are_the_same(monkeypatch, seed):
    """AMD's way for bf16: exact, so it gives the same sums."""
    x = activations(5, 256, torch.bfloat16, seed)
    for name in ("q4g128", "q4z32", "q6z32", "q8"):
        matrix = matrix_of(name, 32, 256, seed)
        native = quantized_matmul(x, matrix, wide=True)
        with monkeypatch.context() as patched:
            patched.setattr("qwen3edge.kernels.matmul_a16.target_of", lambda _: "gfx-none")
            assert half_plan(matrix.packed_format, 5, 32, 256, x.dtype, "gfx-none").constants["HALF_CODES"]
            torch.testing.assert_close(quantized_matmul(x, matrix, wide=True), native, rtol=0, atol=0)


def test_no_rows(seed):
    matrix = matrix_of("q4z32", 32, 64, seed)
    assert quantized_matmul(torch.empty(0, 64, dtype=torch.float16), matrix).shape == (0, 32)


def test_not_a_number_is_passed_on(seed):
    matrix = matrix_of("q4g32", 32, 64, seed)
    x = activations(2, 64, torch.float16, seed)
    x[1, 3] = float("nan")
    y = quantized_matmul(x, matrix)
    assert y[1].isnan().all() and not y[0].isnan().any()


def test_stacked_matrices_give_their_results_side_by_side(seed):
    matrices = [matrix_of("q4z64", rows, 256, seed + rows) for rows in (32, 16, 5)]
    packed = [(packed_of("q4z64", rows, 256, seed + rows), rows) for rows in (32, 16, 5)]
    x = activations(2, 256, torch.bfloat16, seed)
    y = quantized_matmul(x, DeviceMatrix.stacked("q4z64", packed, 256, "cpu", x.dtype))
    torch.testing.assert_close(y, torch.cat([quantized_matmul(x, m) for m in matrices], dim=1), rtol=0, atol=0)


@pytest.mark.parametrize("way", ["plain", "split"])
@pytest.mark.parametrize("names", [("q4z64", "q6z32"), ("q8", "q8g32"), ("q4z32", "q4a64"), ("q6z32", "q4g128")])
def test_two_formats_in_one_launch(names, way, monkeypatch, seed):
    """Each matrix as it would be alone, in the tiles and parts of both; the parts add up to the product."""
    monkeypatch.setattr(configuration, "_read", lambda _: {"matmul_a16": [CONFIGURATIONS[way]]})
    columns = 640
    pair = [matrix_of(name, rows, columns, seed) for name, rows in zip(names, (80, 48), strict=True)]
    for rows, dtype in ((3, torch.bfloat16), (20, torch.float16)):
        x = activations(rows, columns, dtype, seed + rows)
        found = product_parts(x, pair)
        assert found.shape[1:] == (rows, 128) and (len(found) > 1) == (way == "split")
        expected = torch.cat([reference.quantized_matmul(x, matrix) for matrix in pair], dim=1)
        assert_close(found.sum(0), expected)
        # The plan of the first alone splits K as the pair's does, so it gives the same sums.
        alone = product_parts(x, pair[:1])
        if len(alone) == len(found):
            assert torch.equal(alone, found[..., :80])


@pytest.mark.parametrize("names", [("q4z32",), ("bf16",), ("q8", "bf16"), ("q4z32", "q8", "q6z32")])
def test_parts_of_any_matrices(names, seed):
    matrices = [matrix_of(name, 32, 256, seed + i) for i, name in enumerate(names)]
    x = activations(2, 256, torch.bfloat16, seed)
    found = product_parts(x, matrices)
    assert found.dtype == torch.float32
    assert_close(found.sum(0), torch.cat([reference.quantized_matmul(x, matrix) for matrix in matrices], dim=1))


@pytest.mark.parametrize("way", ["plain", "swapped", "split"])
@pytest.mark.parametrize("name", ["q4z64", "q4g32", "q4a32", "q6z32", "q8", "q8g32", "bf16"])
def test_gated(name, way, monkeypatch, seed):
    """SiLU at the end of the product, whichever side of the tile the rows lie on, and never of a part of the sum."""
    monkeypatch.setattr(configuration, "_read", lambda _: {"matmul_a16": [CONFIGURATIONS[way]]})
    columns, ffn = 384, 48
    data = [(packed_of(name, ffn, columns, seed + i), ffn) for i in range(2)]
    gate_up = DeviceMatrix.stacked(name, data, columns, "cpu", torch.bfloat16, in_turn=True)
    both = DeviceMatrix.stacked(name, data, columns, "cpu", torch.bfloat16)
    for rows, dtype in ((3, torch.bfloat16), (20, torch.float16)):
        x = activations(rows, columns, dtype, seed + rows)
        found = gated_product(x, gate_up)
        assert found.shape == (rows, ffn) and found.dtype == dtype
        # A product of two factors, each as far off as a product's result may be.
        assert_close(found, silu_mul(reference.quantized_matmul(x, both)), scale=2)
    with pytest.raises(KernelShapeError, match="rows: expected a multiple of 32"):
        gated_product(x, matrix_of(name, 48, columns, seed))


def test_logits_of_unquantized_matrices_are_not_rounded(seed):
    matrix = matrix_of("bf16", 32, 256, seed)
    x = activations(2, 256, torch.bfloat16, seed)
    found = quantized_matmul(x, matrix, wide=True)
    exact = x.double() @ matrix.dense.double().T
    assert ((found - exact).abs() <= 1e-5 * (x.double().abs() @ matrix.dense.double().abs().T)).all()
    assert not torch.equal(found, found.bfloat16().float())


def test_splits_are_whole_and_not_empty():
    fmt = PACKED_FORMATS["q4g128"]
    for columns in (128, 256, 384, 1024, 2560, 9728):
        for rows in (64, 1024, 151936):
            splits = half_plan(fmt, 1, rows, columns, torch.float16, "default").constants["SPLITS"]
            pairs = -(-columns // 256)
            each = -(-pairs // splits)
            assert (splits - 1) * each < pairs <= splits * each


@pytest.mark.parametrize("name", ["q4g64", "q4a32", "q4z32", "q6z32"])
def test_opcheck(name, seed):
    matrix = matrix_of(name, 32, 128, seed)
    x, residual = activations(2, 128, torch.float16, seed), activations(2, 32, torch.float16, seed)
    torch.library.opcheck(matmul_a16, (x, *parts(matrix, residual=residual)))
    bare = parts(matrix)[:5] + parts(matrix)[6:]
    torch.library.opcheck(matmul_a16_parts, (x, *bare))
    torch.library.opcheck(matmul_a16_gated, (x, *bare))
    torch.library.opcheck(matmul_pair, (x, *bare, *bare))


def test_what_offsets_of_32_bits_do_not_reach_is_refused():
    """Tensors of the right shapes and no content."""
    fmt = PACKED_FORMATS["q8"]
    with torch.device("meta"):
        x = torch.empty(1 << 19, 4096, dtype=torch.bfloat16)
        parts = MatrixParts(
            *(part and torch.empty(part.shape, dtype=part.dtype) for part in part_types(fmt, 16, 4096).values())
        )
        check_parts(x[:-1], parts, fmt, 16)
        with pytest.raises(
            KernelShapeError, match=r"x: expected fewer than 2\^31 values.*found 524288 x 4096; .*524287"
        ):
            check_parts(x, parts, fmt, 16)
        rows = 1 << 20
        parts = MatrixParts(
            *(part and torch.empty(part.shape, dtype=part.dtype) for part in part_types(fmt, rows, 4096).values())
        )
        with pytest.raises(KernelShapeError, match=r"words: expected fewer than 2\^31 values"):
            check_parts(x[:1], parts, fmt, rows)


def test_a_launch_of_too_many_blocks_is_refused():
    expect_blocks("matrix", 65535, 16)
    with pytest.raises(
        KernelShapeError, match="matrix: expected at most 65535 blocks of 16 rows in one launch, found 65536"
    ):
        expect_blocks("matrix", 65536, 16)


def test_refused(seed):
    matrix = matrix_of("q4g64", 32, 128, seed)
    x = activations(2, 128, torch.float16, seed)
    with pytest.raises(KernelTypeError, match=r"x: expected torch.float16 or torch.bfloat16, found torch.float32"):
        quantized_matmul(x.float(), matrix)
    with pytest.raises(KernelShapeError, match="x: expected shape"):
        quantized_matmul(x[:, :64].contiguous(), matrix)
    with pytest.raises(KernelShapeError, match="contiguous"):
        quantized_matmul(activations(2, 256, torch.float16, seed)[:, ::2], matrix)
    with pytest.raises(KernelTypeError, match=r"scales: expected torch.int32, found torch.float16"):
        matmul_a16(x, *parts(matrix, scales=torch.ones(2, 32, dtype=torch.float16)))
    with pytest.raises(KernelShapeError, match="x: expected a multiple of 64 columns for q4g64, found 96"):
        matmul_a16(x[:, :96].contiguous(), *parts(matrix))
    with pytest.raises(KernelTypeError, match="steps: expected none"):
        matmul_a16(x, *parts(matrix, steps=matrix.scales))
    with pytest.raises(KernelShapeError, match="residual: expected shape"):
        quantized_matmul(x, matrix, residual=x)
    with pytest.raises(KernelShapeError, match="words: expected shape"):
        matmul_a16(x, *parts(dataclasses.replace(matrix, rows=64)))
    with pytest.raises(KernelShapeError, match="found 2 experts"):
        quantized_matmul(x, matrix.split_experts(2))
