"""The router, the sorting of pairs and the combination against plain torch."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qwen3edge.kernels.errors import KernelError
from qwen3edge.kernels.moe_router import moe_router, moe_scores
from qwen3edge.kernels.references import moe as reference
from tests.kernels.closeness import assert_close

MOE_SHAPES = [(1, 128, 8), (3, 128, 8), (37, 60, 4), (5, 4, 4), (2, 1, 1), (0, 8, 2)]  # tokens, experts, top_k


@pytest.mark.parametrize("renormalize", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(("tokens", "experts", "top_k"), MOE_SHAPES)
def test_router(seed, tokens, experts, top_k, dtype, renormalize):
    torch.manual_seed(seed)
    logits = (torch.randn(tokens, experts) * 4).to(dtype)
    weights, ids = moe_router(logits, top_k, renormalize)
    expected, best = reference.moe_router(logits, top_k, renormalize)
    assert torch.equal(ids, best) and ids.dtype == torch.int32
    torch.testing.assert_close(weights, expected, rtol=1e-6, atol=1e-7)
    assert_close(weights, expected)


@pytest.mark.parametrize(
    ("tokens", "experts", "columns"), [(1, 128, 512), (8, 60, 96), (37, 12, 80), (33, 130, 64), (0, 4, 32)]
)
def test_scores(seed, tokens, experts, columns):
    """Of float32 no bit is left out, though the program around us lets torch do so."""
    torch.manual_seed(seed)
    x, router = torch.randn(tokens, columns) * 30, torch.randn(experts, columns)
    expected = x.double() @ router.double().T
    scale = x.double().abs() @ router.double().abs().T
    found = moe_scores(x, router)
    assert found.shape == (tokens, experts) and found.dtype == torch.float32
    assert ((found - expected).abs() <= 2.0**-22 * scale).all()


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 5), st.integers(2, 40), st.data())
def test_equal_scores_go_to_the_lower_expert(tokens, experts, data):
    values = st.sampled_from([-1.0, 0.0, 2.5, 60.0, -80.0])
    rows = st.lists(values, min_size=experts, max_size=experts)
    logits = torch.tensor(data.draw(st.lists(rows, min_size=tokens, max_size=tokens)))
    top_k = data.draw(st.integers(1, experts if experts < 32 else 32))
    weights, ids = moe_router(logits, top_k, True)
    expected, best = reference.moe_router(logits, top_k, True)
    # exp underflows alike on both sides, so that equal scores are equal.
    assert torch.equal(ids, best)
    torch.testing.assert_close(weights, expected, rtol=1e-6, atol=1e-7)


def test_padding_rows_get_no_expert(seed):
    torch.manual_seed(seed)
    logits, rows = torch.randn(7, 16), torch.tensor([5], dtype=torch.int32)
    weights, ids = moe_router(logits, 4, True, rows)
    assert torch.equal(ids, reference.moe_router(logits, 4, True, rows)[1])
    assert (ids[5:] == -1).all() and (ids[:5] >= 0).all()
    assert torch.equal(weights, moe_router(logits, 4, True)[0])


@pytest.mark.parametrize("renormalize", [False, True])
def test_outliers_and_nan(renormalize):
    logits = torch.zeros(3, 6)
    logits[0, 3], logits[1, 2], logits[2, 1] = 1e30, float("nan"), -float("inf")
    weights, ids = moe_router(logits, 2, renormalize)
    assert weights[0, 0] == 1 and ids[0, 0] == 3
    assert weights[1].isnan().all() and ((ids[1] >= 0) & (ids[1] < 6)).all()
    assert weights[2].isfinite().all() and ids[2].tolist() == [0, 2]


@pytest.mark.parametrize(
    ("logits", "top_k", "rows"),
    [
        (torch.zeros(2, 4), 5, None),
        (torch.zeros(2, 4), 0, None),
        (torch.zeros(4), 1, None),
        (torch.zeros(2, 4, dtype=torch.int32), 1, None),
        (torch.zeros(4, 2).T, 1, None),
        (torch.zeros(1, 1025), 1, None),
        (torch.zeros(2, 4), 2, torch.zeros(1)),
    ],
)
def test_refused(logits, top_k, rows):
    with pytest.raises(KernelError, match="expected"):
        moe_router(logits, top_k, True, rows)


def test_opcheck():
    torch.library.opcheck(moe_router, (torch.randn(3, 8), 2, True, torch.tensor([2], dtype=torch.int32)))
