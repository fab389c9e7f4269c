"""Pairs sorted by expert, against a loop."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qwen3edge.kernels.errors import KernelError
from qwen3edge.kernels.moe_align import block_bound, moe_align
from qwen3edge.kernels.references import moe as reference


def check(ids: torch.Tensor, experts: int, block: int) -> None:
    order, owners = moe_align(ids, experts, block)
    expected, owned = reference.moe_align(ids, experts, block)
    bound = block_bound(ids.numel(), experts, block)
    assert order.shape == (bound * block,) and owners.shape == (bound,)
    assert order.tolist() == expected + [ids.numel()] * (len(order) - len(expected))
    assert owners.tolist() == owned + [-1] * (bound - len(owned))


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 40), st.integers(1, 4), st.integers(1, 20), st.sampled_from([1, 16, 32]), st.data())
def test_any_ids(tokens, top_k, experts, block, data):
    flat = data.draw(st.lists(st.integers(-1, experts - 1), min_size=tokens * top_k, max_size=tokens * top_k))
    check(torch.tensor(flat, dtype=torch.int32).reshape(tokens, top_k), experts, block)


@pytest.mark.parametrize(("tokens", "experts", "top_k", "block"), [(100, 128, 8, 16), (129, 3, 1, 64), (0, 4, 2, 16)])
def test_many(seed, tokens, experts, top_k, block):
    torch.manual_seed(seed)
    ids = torch.rand(tokens, experts).argsort(dim=1)[:, :top_k].int()
    check(ids.contiguous(), experts, block)


def test_one_expert_takes_all():
    check(torch.full((200, 1), 5, dtype=torch.int32), 8, 16)
    check(torch.full((33, 2), -1, dtype=torch.int32), 8, 16)


@pytest.mark.parametrize(
    ("ids", "experts", "block"),
    [
        (torch.zeros(2, 2), 4, 16),
        (torch.zeros(4, dtype=torch.int32), 4, 16),
        (torch.zeros(2, 2, dtype=torch.int32), 0, 16),
        (torch.zeros(2, 2, dtype=torch.int32), 4, 24),
        (torch.zeros(2, 2, dtype=torch.int32), 2000, 16),
    ],
)
def test_refused(ids, experts, block):
    with pytest.raises(KernelError, match="expected"):
        moe_align(ids, experts, block)


def test_opcheck():
    torch.library.opcheck(moe_align, (torch.tensor([[0, 2], [1, 2]], dtype=torch.int32), 4, 16))
