"""Weighted parts added in the order of rank."""

import pytest
import torch

from qwen3edge.kernels.errors import KernelError
from qwen3edge.kernels.moe_combine import moe_combine
from qwen3edge.kernels.references import moe as reference


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(("tokens", "top_k", "columns"), [(1, 8, 2048), (5, 3, 100), (2, 1, 1), (0, 2, 8)])
def test_combine(seed, tokens, top_k, columns, dtype):
    torch.manual_seed(seed)
    parts = torch.randn(tokens * top_k, columns) * 10
    ids = torch.randint(-1, 4, (tokens, top_k), dtype=torch.int32)
    # The same additions in the same order: equal, not close.
    assert torch.equal(moe_combine(parts, ids, dtype), reference.moe_combine(parts, ids, dtype))


def test_padding_is_left_out():
    parts = torch.tensor([[1.0, 2.0], [float("nan"), 1.0], [3.0, 4.0], [5.0, 6.0]])
    ids = torch.tensor([[0, -1], [-1, 1]], dtype=torch.int32)
    assert moe_combine(parts, ids, torch.float32).tolist() == [[1, 2], [5, 6]]
    out = moe_combine(torch.full((2, 3), float("nan")), torch.tensor([[1, 0]], dtype=torch.int32), torch.float32)
    assert out.isnan().all()


@pytest.mark.parametrize(
    ("parts", "ids"),
    [
        (torch.zeros(3, 4), torch.zeros(2, 2, dtype=torch.int32)),
        (torch.zeros(4, 4, dtype=torch.float16), torch.zeros(2, 2, dtype=torch.int32)),
        (torch.zeros(4, 4).T, torch.zeros(2, 2, dtype=torch.int32)),
        (torch.zeros(4, 4), torch.zeros(2, 2)),
    ],
)
def test_refused(parts, ids):
    with pytest.raises(KernelError, match="expected"):
        moe_combine(parts, ids, torch.float32)


def test_opcheck():
    torch.library.opcheck(moe_combine, (torch.randn(4, 8), torch.zeros(2, 2, dtype=torch.int32), torch.float16))
