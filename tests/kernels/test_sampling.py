"""Sampling against sorting in torch and against the CPU's sampler; rows that have nothing to draw."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.library import opcheck

from qwen3edge import _core
from qwen3edge.kernels.errors import KernelShapeError, KernelTypeError
from qwen3edge.kernels.references import sampling as reference
from qwen3edge.kernels.sampling import SEGMENT, sample, stream

EDGE = 1e-5  # of all weight: float32 sums may decide otherwise so near to another token


def run(logits, temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, seed=0, draws=0):
    """One token a row, the same parameters for all."""
    rows = len(logits)
    floats = (torch.full((rows,), value, dtype=torch.float32) for value in (temperature, top_p, min_p))
    temperatures, top_ps, min_ps = floats
    top_ks = torch.full((rows,), top_k, dtype=torch.int32)
    seeds = (torch.zeros(rows, dtype=torch.int64) + seed).contiguous()
    return sample(logits, temperatures, top_ks, top_ps, min_ps, seeds, torch.arange(draws, draws + rows)).tolist()


def expect_reference(logits, temperature, top_k, top_p, min_p, seed):
    found = run(logits, temperature, top_k, top_p, min_p, seed)
    for row, token in enumerate(found):
        expected, margin = reference.sample(logits[row], temperature, top_k, top_p, min_p, seed, row)
        assert token == expected or margin < EDGE, (row, token, expected, margin)


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p", "min_p"),
    [
        (0.0, 0, 1.0, 0.0),
        (0.7, 20, 0.8, 0.0),  # Qwen3, direct
        (0.6, 20, 0.95, 0.0),  # Qwen3, thinking
        (1.0, 0, 1.0, 0.0),
        (1.5, 0, 0.9, 0.0),
        (2.0, 0, 1.0, 0.05),
        (1.0, 3, 0.0, 0.0),
        (100.0, 2000, 0.5, 0.9),
    ],
)
def test_like_sorting(temperature, top_k, top_p, min_p, seed):
    random = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, 5 * SEGMENT + 77, generator=random) * 4
    expect_reference(logits, temperature, top_k, top_p, min_p, seed)


@settings(max_examples=12, deadline=None)
@given(
    # Few values, so that many are equal; what can never be drawn among them.
    values=st.lists(
        st.sampled_from([-3.0, -0.0, 0.0, 0.5, 2.0, 2.5, float("-inf"), float("nan")]), min_size=1, max_size=60
    ),
    temperature=st.sampled_from([0.0, 0.3, 1.0, 5.0]),
    top_k=st.integers(0, 70),
    top_p=st.sampled_from([0.0, 0.3, 0.9, 1.0]),
    min_p=st.sampled_from([0.0, 0.1, 0.6, 1.0]),
    seed=st.integers(-(2**63), 2**63 - 1),
)
def test_equal_logits(values, temperature, top_k, top_p, min_p, seed):
    expect_reference(torch.tensor([values] * 2), temperature, top_k, top_p, min_p, seed % 2**64 if seed >= 0 else seed)


def test_the_token_of_the_cpu(seed):
    random = torch.Generator().manual_seed(seed)
    logits = torch.randn(1, 3000, generator=random) * 3
    cpu = _core.Sampler(vocabulary=3000, seed=seed, choice=4, temperature=0.7, top_k=20, top_p=0.8, min_p=0.01,
                        presence_penalty=0.0, repetition_penalty=1.0)  # fmt: skip
    for draw in range(6):
        expected = cpu.sample(logits[0].numpy(), index=draw)
        _, margin = reference.sample(logits[0], 0.7, 20, 0.8, 0.01, stream(seed, 4), draw)
        assert run(logits, 0.7, 20, 0.8, 0.01, stream(seed, 4), draw) == [expected] or margin < EDGE


def test_rows_have_their_own_parameters(seed):
    logits = torch.randn(3, 900, generator=torch.Generator().manual_seed(seed))
    temperatures, top_ps = torch.tensor([0.0, 1.0, 0.5]), torch.tensor([1.0, 0.5, 1.0])
    top_ks = torch.tensor([5, 0, 7], dtype=torch.int32)
    seeds, draws = torch.tensor([1, 2, 3]), torch.tensor([0, 5, 9])
    found = sample(logits, temperatures, top_ks, top_ps, torch.zeros(3), seeds, draws).tolist()
    for row in range(3):
        expected, margin = reference.sample(
            logits[row], float(temperatures[row]), int(top_ks[row]), float(top_ps[row]), 0.0, row + 1, int(draws[row])
        )
        assert found[row] == expected or margin < EDGE


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_logits(dtype, seed):
    logits = (torch.randn(2, 2000, generator=torch.Generator().manual_seed(seed)) * 4).to(dtype)
    assert run(logits, 0.7, 20, 0.8, seed=seed) == run(logits.float(), 0.7, 20, 0.8, seed=seed)


def test_infinity_is_the_best():
    logits = torch.zeros(1, 50)
    logits[0, [7, 9]] = float("inf")
    assert {run(logits, seed=s)[0] for s in range(6)} == {7, 9}


def test_nothing_to_draw_is_told():
    nothing = torch.full((1, 100), float("-inf"))
    nothing[0, 3] = float("nan")
    assert run(nothing) == [-1] and run(nothing, temperature=0.0) == [-1]
    some = torch.zeros(1, 100)
    for bad in (
        {"temperature": float("nan")},
        {"temperature": -1.0},
        {"top_p": float("nan")},
        {"min_p": 1.5},
        {"top_k": -1},
    ):
        assert run(some, **bad) == [-1], bad


def test_refusals():
    one = torch.ones(1)
    good = [torch.zeros(1, 10), one, one.int(), one, one, one.long(), one.long()]
    for index, name in enumerate(["logits", "temperature", "top_k", "top_p", "min_p", "seeds", "draws"]):
        arguments = list(good)
        arguments[index] = good[index].double()
        with pytest.raises(KernelTypeError, match=f"{name}: expected"):
            sample(*arguments)
    with pytest.raises(KernelShapeError, match=r"top_p: expected shape \[1\]"):
        sample(*good[:3], torch.ones(2), *good[4:])
    with pytest.raises(KernelShapeError, match="logits: expected 1 to"):
        sample(torch.zeros(1, 0), *good[1:])


def test_opcheck():
    one = torch.ones(2)
    arguments = (torch.zeros(2, 10), one, one.int(), one, one, one.long(), one.long())
    opcheck(torch.ops.qwen3edge.sample.default, arguments)
