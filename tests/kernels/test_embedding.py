"""Rows of the embedding against the dequantized matrix."""

import pytest
import torch

from qwen3edge import _core
from qwen3edge.kernels.embedding import embedding
from qwen3edge.kernels.errors import KernelError
from qwen3edge.kernels.packing import DeviceMatrix
from qwen3edge.kernels.panels import PACKED_FORMATS


def matrix(format: str, rows: int, columns: int) -> tuple[DeviceMatrix, torch.Tensor]:
    packed = _core.quantize(format, torch.randn(rows, columns).numpy())
    weights = torch.from_numpy(_core.dequantize(format, packed, rows, columns))
    return DeviceMatrix.from_packed(format, torch.from_numpy(packed), rows, columns, "cpu", torch.float32), weights


@pytest.mark.parametrize("format", PACKED_FORMATS)
@pytest.mark.parametrize("columns", [128, 1152])
def test_rows(seed, format, columns):
    torch.manual_seed(seed)
    table, weights = matrix(format, 40, columns)
    tokens = torch.tensor([39, 0, 17, 17], dtype=torch.int32)
    found = embedding(tokens, table)
    assert found.dtype == torch.float32
    # q4a's offset is rounded to fp16 where the device keeps it.
    tolerance = 2e-3 if format.startswith("q4a") else 1e-6
    torch.testing.assert_close(found, weights[tokens.long()], rtol=1e-6, atol=tolerance)


def test_short_rows_and_no_tokens():
    table, weights = matrix("q4z32", 16, 32)
    torch.testing.assert_close(embedding(torch.tensor([3], dtype=torch.int32), table), weights[3:4])
    assert embedding(torch.zeros(0, dtype=torch.int32), table).shape == (0, 32)


def test_refused():
    table, _ = matrix("q8", 32, 32)
    for tokens, of in (
        (torch.zeros(1), table),
        (torch.zeros(1, dtype=torch.int64), table),
        (torch.zeros(1, 1, dtype=torch.int32), table),
        (torch.zeros(1, dtype=torch.int32), table.split_experts(2)),
    ):
        with pytest.raises(KernelError, match="expected"):
            embedding(tokens, of)


def test_opcheck():
    table, _ = matrix("q6z32", 16, 64)
    parts = (table.words, table.high, table.scales, table.offsets, table.steps, table.format, table.columns)
    torch.library.opcheck(torch.ops.qwen3edge.embedding, (torch.tensor([1, 5], dtype=torch.int32), *parts))
