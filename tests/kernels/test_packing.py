"""DeviceMatrix against the NumPy meaning of the packed bytes."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qwen3edge._core import packed_nbytes
from qwen3edge.formats.blocks import BLOCK_FORMATS
from qwen3edge.kernels.errors import KernelShapeError, KernelTypeError
from qwen3edge.kernels.packing import DeviceMatrix, repacking_bytes
from qwen3edge.kernels.panels import PACKED_FORMATS
from qwen3edge.kernels.references.packing import weights
from tests.reference.blocks import dequantize
from tests.reference.quantizers import quantize

QUANTIZED = sorted(name for name, fmt in PACKED_FORMATS.items() if fmt.kind != "dense")
# m + 8 d is rounded to fp16 once more: half a unit in the last place of up to 9 times the group's scale.
ASYMMETRIC_TOLERANCE = 1e-3


def packed(name: str, rows: int, columns: int, seed: int) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    w = rng.standard_normal((rows, columns)).astype(np.float32)
    w[:, rng.integers(0, columns, 3)] *= 20  # outliers
    return torch.from_numpy(quantize(name, w).copy())


def same(name: str, got: torch.Tensor, want: np.ndarray) -> None:
    if PACKED_FORMATS[name].kind == "q4a":
        np.testing.assert_allclose(got.numpy(), want, atol=ASYMMETRIC_TOLERANCE * np.abs(want).max())
    else:
        np.testing.assert_array_equal(got.numpy(), want)


def test_every_matrix_format_is_known():
    assert set(PACKED_FORMATS) == set(BLOCK_FORMATS) - {"vector"}
    for name, fmt in PACKED_FORMATS.items():
        ours = BLOCK_FORMATS[name]
        assert fmt.block == ours.block
        assert (fmt.step_group or fmt.block) == ours.group


@pytest.mark.parametrize("name", QUANTIZED)
@settings(max_examples=6, deadline=None)
@given(rows=st.integers(1, 50), units=st.integers(1, 5), seed=st.integers(0, 2**32 - 1))
def test_weights_are_what_the_bytes_mean(name, rows, units, seed):
    fmt = PACKED_FORMATS[name]
    columns = units * fmt.column_unit
    data = packed(name, rows, columns, seed)
    matrix = DeviceMatrix.from_packed(name, data, rows, columns, "cpu", torch.float16)
    assert matrix.stored_rows % 16 == 0
    same(name, weights(matrix), dequantize(name, data.numpy(), rows, columns))


@pytest.mark.parametrize(("name", "dtype"), [("f32", torch.float32), ("bf16", torch.bfloat16)])
def test_dense_matrices(name, dtype, seed):
    data = packed(name, 21, 96, seed)
    matrix = DeviceMatrix.from_packed(name, data, 21, 96, "cpu", dtype)
    assert matrix.dense is not None and matrix.dense.dtype == dtype
    np.testing.assert_array_equal(weights(matrix).numpy(), dequantize(name, data.numpy(), 21, 96))


@pytest.mark.parametrize("name", ["q4z32", "q4g64", "q4a128", "q6z32", "q8", "q8g32", "bf16"])
def test_stacked_matrices_are_their_rows_in_order(name, seed):
    rows = (16, 5, 40)
    data = [(packed(name, r, 256, seed + r), r) for r in rows]
    parts = [DeviceMatrix.from_packed(name, bytes_, r, 256, "cpu", torch.bfloat16) for bytes_, r in data]
    whole = DeviceMatrix.stacked(name, data, 256, "cpu", torch.bfloat16)
    assert whole.rows == sum(rows)
    torch.testing.assert_close(weights(whole), torch.cat([weights(part) for part in parts]), rtol=0, atol=0)


@pytest.mark.parametrize("name", ["q4z64", "q6z32", "q8", "bf16"])
def test_two_matrices_in_turn(name, seed, monkeypatch):
    """Panels of 16 rows of one and the other, whatever is repacked at once."""
    data = [(packed(name, 48, 256, seed + r), 48) for r in range(2)]
    wanted = [weights(DeviceMatrix.from_packed(name, x, 48, 256, "cpu", torch.bfloat16)) for x, _ in data]
    wanted = torch.stack([x.unflatten(0, (3, 16)) for x in wanted], dim=1).flatten(0, 2)
    for chunk in (1, 1 << 22):
        monkeypatch.setattr("qwen3edge.kernels.packing._CHUNK_WEIGHTS", chunk)
        whole = DeviceMatrix.stacked(name, data, 256, "cpu", torch.bfloat16, in_turn=True)
        torch.testing.assert_close(weights(whole), wanted, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["q4z32", "q4z64", "q6z32", "q8", "q8g32", "q4a32", "bf16"])
def test_what_repacking_takes(name, seed):
    """Memory that is taken at once, as torch's profiler sees it: never more than the plan is told."""
    rows, columns = 8192, 1024
    data = torch.from_numpy(np.random.default_rng(seed).integers(0, 255, packed_nbytes(name, rows, columns), np.uint8))
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        matrix = DeviceMatrix.from_packed(name, data, rows, columns, "cpu", torch.bfloat16)
    taken = itertools.accumulate(
        event.nbytes() for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"
    )
    most = max(taken) - matrix.nbytes
    print(f"{name}: {most / 2**20:.1f} MiB besides the matrix")
    assert 0 < most <= repacking_bytes(rows, columns)


@pytest.mark.parametrize("name", ["q4z32", "q4g64", "q4a128", "q6z32", "q8", "bf16"])
def test_experts_are_their_rows_in_order(name, seed):
    matrix = DeviceMatrix.from_packed(name, packed(name, 96, 128, seed), 96, 128, "cpu", torch.bfloat16)
    experts = matrix.split_experts(3)
    assert (experts.experts, experts.rows) == (3, 32)
    for expert in range(3):
        parts = {name: part[expert] for name, part in experts._parts().items()}
        one = DeviceMatrix(name, 32, 128, **parts)
        torch.testing.assert_close(weights(one), weights(matrix)[32 * expert : 32 * expert + 32], rtol=0, atol=0)


def test_bytes_on_the_device(seed):
    matrix = DeviceMatrix.from_packed("q4z32", packed("q4z32", 32, 1024, seed), 32, 1024, "cpu", torch.float16)
    assert matrix.nbytes * 8 / (32 * 1024) == 4.625  # docs/gpu.md quotes it


def test_refused(seed):
    data = packed("q4g64", 16, 128, seed)
    with pytest.raises(KernelTypeError, match="format: expected one of"):
        DeviceMatrix.from_packed("q5", data, 16, 128, "cpu", torch.float16)
    with pytest.raises(KernelTypeError, match="expected uint8"):
        DeviceMatrix.from_packed("q4g64", data.view(torch.int8), 16, 128, "cpu", torch.float16)
    with pytest.raises(KernelShapeError, match="multiple of 64 columns"):
        DeviceMatrix.from_packed("q4g64", data, 16, 96, "cpu", torch.float16)
    with pytest.raises(KernelShapeError, match="contiguous bytes"):
        DeviceMatrix.from_packed("q4g64", data[:-64], 16, 128, "cpu", torch.float16)
    one = DeviceMatrix.from_packed("q4g64", data, 16, 128, "cpu", torch.float16)
    with pytest.raises(KernelShapeError, match="contiguous bytes"):
        DeviceMatrix.stacked("q4g64", [(data, 16), (packed("q4g32", 16, 128, seed), 16)], 128, "cpu", torch.float16)
    with pytest.raises(KernelShapeError, match="stacked: expected two matrices of as many rows"):
        DeviceMatrix.stacked("q4g64", [(data, 16), (data, 15)], 128, "cpu", torch.float16, in_turn=True)
    with pytest.raises(KernelShapeError, match="experts: expected 2"):
        one.split_experts(2)
