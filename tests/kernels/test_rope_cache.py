"""Bias, QK-norm, RoPE and the writes into the paged cache against torch, and the norm and RoPE against transformers."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.library import opcheck
from transformers.models.qwen3 import modeling_qwen3

from qwen3edge.kernels.errors import KernelConfigurationError, KernelShapeError, KernelTypeError
from qwen3edge.kernels.kv_cache import PAGE, KvCache
from qwen3edge.kernels.references import rope_cache as reference
from qwen3edge.kernels.rope_cache import rope_cache, rotary_table
from tests.kernels.closeness import assert_close
from tests.kernels.paged import dealt_tables, poisoned_cache

EPSILON, THETA, SLOTS, CONTEXT = 1e-6, 1e6, 3, 200


def table_of(head_dim, positions=CONTEXT):
    return rotary_table(1.0 / THETA ** (torch.arange(0, head_dim, 2) / head_dim), positions)


def run(tokens, heads, kv_heads, head_dim, dtype, norm, bias, seed, cached=torch.int8, splits=1):
    """Launcher and reference on the same step; returns both queries and both caches, and who wrote where."""
    random = torch.Generator().manual_seed(seed)
    columns = (heads + 2 * kv_heads) * head_dim
    qkv = torch.randn(tokens, columns, generator=random)
    qkv[:, 5::53] *= 30
    qkv = qkv.to(dtype)
    biases = torch.randn(columns, generator=random) * 10 if bias else None
    weights = [torch.rand(head_dim, generator=random) + 0.5 for _ in range(2)] if norm else [None, None]
    # Every token its own place, some without one; positions on both sides of a page's end.
    places = torch.randperm(SLOTS * CONTEXT, generator=random)[:tokens]
    sequences, positions = (places // CONTEXT).int(), (places % CONTEXT).int()
    sequences[1::4] = -1
    tables = dealt_tables(SLOTS, CONTEXT, random)
    cos_sin = table_of(head_dim)
    found = poisoned_cache(tables.numel(), kv_heads, head_dim, cached)
    expected = KvCache(*(part if part is None else part.clone() for part in found))
    # In parts whose sum is exact: one half, and what is left of it.
    parts = torch.stack([qkv.float() / 2] * 2) if splits == 2 else qkv.float()[None]
    queries = rope_cache(parts, biases, *weights, EPSILON, cos_sin, positions, sequences, tables, found, dtype)
    wanted, keys, values = reference.project(qkv, biases, *weights, EPSILON, cos_sin[positions.long()], kv_heads)
    reference.write(expected, keys, values, positions, sequences, tables)
    return queries, wanted, found, expected


def check(queries, wanted, found, expected, dtype):
    assert queries.dtype == dtype
    assert_close(queries, wanted)
    written = ~expected.key_scales.isnan()
    assert torch.equal(~found.key_scales.isnan(), written) and torch.equal(~found.value_scales.isnan(), written)
    for scales, wanted_scales in ((found.key_scales, expected.key_scales), (found.value_scales, expected.value_scales)):
        assert_close(scales[written], wanted_scales[written])
    for name in ("keys", "values"):
        ours, theirs = getattr(found, name), getattr(expected, name)
        if name == "values":
            ours, theirs = ours.transpose(2, 3), theirs.transpose(2, 3)
        difference = (ours.int() - theirs.int()).abs()
        assert not difference[~written].any()  # nothing is written elsewhere
        # A norm's last bit moves a rounded value, and then its quant by one; of bfloat16 by one of its steps.
        assert difference.numel() == 0 or difference.max() <= (2 if dtype == torch.bfloat16 else 1)
        assert (difference[written] > 0).float().mean() < 0.02


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    ("heads", "kv_heads", "head_dim", "norm", "bias"),
    [(16, 8, 128, True, False), (14, 2, 64, False, True), (5, 1, 96, True, True), (1, 1, 32, False, False)],
)
def test_rope_cache(heads, kv_heads, head_dim, norm, bias, dtype, seed):
    check(*run(21, heads, kv_heads, head_dim, dtype, norm, bias, seed), dtype)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_parts_are_added_before_anything_is_rounded(dtype, seed):
    whole = run(9, 4, 2, 64, dtype, True, True, seed)
    parts = run(9, 4, 2, 64, dtype, True, True, seed, splits=2)
    assert torch.equal(whole[0], parts[0])
    for ours, theirs in zip(whole[2], parts[2], strict=True):
        assert torch.equal(ours.nan_to_num(7), theirs.nan_to_num(7))


@settings(max_examples=6, deadline=None)
@given(
    tokens=st.integers(1, 12),
    group=st.integers(1, 7),
    kv_heads=st.integers(1, 5),
    norm=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_heads(tokens, group, kv_heads, norm, seed):
    check(*run(tokens, group * kv_heads, kv_heads, 32, torch.float16, norm, not norm, seed), torch.float16)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("cached", [torch.float16, torch.bfloat16])
def test_a_cache_without_scales(dtype, cached, seed):
    queries, wanted, found, expected = run(21, 6, 2, 96, dtype, True, True, seed, cached)
    assert_close(queries, wanted)
    for ours, theirs in ((found.keys, expected.keys), (found.values, expected.values)):
        written = ~theirs.isnan()
        assert torch.equal(~ours.isnan(), written) and written.any() and not written.all()
        assert_close(ours[written], theirs[written])


def test_like_transformers(seed):
    """The norm's roundings and the rotation are those of the model in the working type."""
    torch.manual_seed(seed)
    dtype, tokens, heads, head_dim = torch.bfloat16, 9, 2, 64
    qkv = torch.randn(tokens, heads * 3 * head_dim).to(dtype)
    positions = torch.randint(0, 4000, (tokens,), dtype=torch.int32)
    cos_sin = table_of(head_dim, 4000)
    norm = modeling_qwen3.Qwen3RMSNorm(head_dim, eps=EPSILON).to(dtype)
    norm.weight.data = (torch.rand(head_dim) + 0.5).to(dtype)
    normed = norm(qkv.unflatten(-1, (-1, head_dim))[:, :heads])[None].transpose(1, 2)
    cos, sin = cos_sin[positions.long()][None].chunk(2, -1)
    expected, _ = modeling_qwen3.apply_rotary_pos_emb(
        normed.float(), normed.float(), torch.cat([cos, cos], -1), torch.cat([sin, sin], -1)
    )
    cache, tables = poisoned_cache(64, heads, head_dim), torch.arange(64, dtype=torch.int32)[None]
    sequences = torch.full((tokens,), -1, dtype=torch.int32)
    queries = rope_cache(
        qkv.float()[None], None, norm.weight.data, norm.weight.data, EPSILON, cos_sin,
        positions, sequences, tables, cache, dtype,
    )  # fmt: skip
    assert_close(queries, expected[0].transpose(0, 1))
    assert cache.key_scales.isnan().all()


def test_nan_shows():
    tokens, kv_heads, head_dim = 2, 2, 32
    qkv = torch.ones(tokens, 6 * head_dim, dtype=torch.float16)
    qkv[0, 2 * head_dim + 3] = float("nan")  # key of head 0
    qkv[1, 5 * head_dim + 3] = float("inf")  # value of head 1
    positions, sequences = torch.tensor([0, 1], dtype=torch.int32), torch.zeros(2, dtype=torch.int32)
    cache = KvCache.empty(1, kv_heads, head_dim)
    rope_cache(
        qkv.float()[None], None, None, None, EPSILON, table_of(head_dim), positions, sequences,
        torch.zeros(1, 1, dtype=torch.int32), cache, torch.float16,
    )  # fmt: skip
    assert cache.key_scales[0, :, :2].isnan().tolist() == [[True, False], [False, False]]
    assert cache.value_scales[0, :, :2].isnan().tolist() == [[False, False], [False, True]]


def arguments(tokens=3, heads=2, kv_heads=1, head_dim=32, cached=torch.int8):
    positions = torch.arange(tokens, dtype=torch.int32)
    return {
        "qkv": torch.randn(2, tokens, (heads + 2 * kv_heads) * head_dim),
        "bias": None,
        "query_weight": torch.ones(head_dim),
        "key_weight": torch.ones(head_dim),
        "epsilon": EPSILON,
        "cos_sin": table_of(head_dim),
        "positions": positions,
        "sequences": torch.zeros(tokens, dtype=torch.int32),
        "block_tables": torch.zeros(1, 1, dtype=torch.int32),
        "cache": KvCache.empty(2, kv_heads, head_dim, dtype=cached),
        "dtype": torch.float16,
    }


def test_refusals():
    good = arguments()
    cache = good["cache"]
    cases = [
        ({"qkv": good["qkv"].half()}, KernelTypeError, "qkv: expected"),
        ({"qkv": good["qkv"][0]}, KernelShapeError, "qkv: expected shape"),
        ({"qkv": good["qkv"][:0]}, KernelShapeError, "qkv: expected at least one part"),
        ({"dtype": torch.float32}, KernelTypeError, "dtype: expected"),
        (
            {"qkv": good["qkv"][..., :-1].contiguous()},
            KernelShapeError,
            r"qkv: expected \(heads \+ 2 \* 1\) \* 32 columns",
        ),
        ({"key_weight": None}, KernelConfigurationError, "expected both or none"),
        ({"positions": good["positions"].long()}, KernelTypeError, r"positions: expected torch\.int32"),
        ({"sequences": good["sequences"][:2]}, KernelShapeError, r"sequences: expected shape \[3\]"),
        ({"cache": cache._replace(key_scales=cache.key_scales.half())}, KernelTypeError, "key_scales"),
        ({"cache": cache._replace(values=cache.values.transpose(2, 3).contiguous())}, KernelShapeError, "values"),
        (
            {"cache": cache._replace(keys=cache.keys[:, :, :32].contiguous())},
            KernelShapeError,
            f"any, any, {PAGE}, any",
        ),
        ({"cos_sin": good["cos_sin"].half()}, KernelTypeError, "cos_sin"),
        ({"epsilon": 0.0}, KernelConfigurationError, "epsilon"),
    ]
    for change, error, message in cases:
        with pytest.raises(error, match=message):
            rope_cache(**{**good, **change})


def test_an_empty_step():
    assert rope_cache(**arguments(tokens=0)).shape == (0, 2, 32)


@pytest.mark.parametrize("cached", [torch.int8, torch.float16])
def test_opcheck(cached):
    good = arguments(cached=cached)
    *others, cache, dtype = good.values()
    opcheck(torch.ops.qwen3edge.rope_cache.default, (*others, *cache, dtype))
