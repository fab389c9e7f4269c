"""One token of each sequence in one launch, against the two kernels that do the same one after the other."""

import pytest
import torch
from torch.library import opcheck

from qwen3edge.kernels.attention import attention
from qwen3edge.kernels.attention_decode import SPLIT
from qwen3edge.kernels.attention_step import attention_step
from qwen3edge.kernels.errors import KernelConfigurationError, KernelShapeError, KernelTypeError
from qwen3edge.kernels.kv_cache import KvCache
from qwen3edge.kernels.references import rope_cache as reference
from qwen3edge.kernels.rope_cache import rope_cache, rotary_table
from tests.kernels.closeness import assert_close
from tests.kernels.paged import dealt_tables, poisoned_cache


def step(lengths, heads, kv_heads, head_dim, dtype, norm, bias, seed, cached=torch.int8, parts=2):
    """Arguments of attention_step; lengths: positions with the token, 0 for a run that pads the batch."""
    random = torch.Generator().manual_seed(seed)
    runs, tokens = len(lengths), sum(length > 0 for length in lengths)
    tables = dealt_tables(runs, max(lengths), random)
    cache = poisoned_cache(tables.numel(), kv_heads, head_dim, cached)
    for run, length in enumerate(lengths):
        before = max(length - 1, 0)
        keys, values = (torch.randn(before, kv_heads, head_dim, generator=random) for _ in range(2))
        values[3::31] *= 20
        places = torch.full((before,), run)
        reference.write(cache, keys, values, torch.arange(before).int(), places.int(), tables)
    columns = (heads + 2 * kv_heads) * head_dim
    qkv = torch.randn(parts, tokens, columns, generator=random)
    qkv[:, :, 5::53] *= 30
    starts = torch.tensor([0, *(int(length > 0) for length in lengths)]).cumsum(0).int()
    return {
        "qkv": qkv,
        "bias": torch.randn(columns, generator=random) if bias else None,
        "query_weight": torch.rand(head_dim, generator=random) + 0.5 if norm else None,
        "key_weight": torch.rand(head_dim, generator=random) + 0.5 if norm else None,
        "epsilon": 1e-6,
        "cos_sin": rotary_table(1e6 ** -(torch.arange(0, head_dim, 2) / head_dim), max(lengths)),
        "cache": cache,
        "block_tables": tables,
        "sequences": torch.arange(runs).int(),
        "query_starts": starts,
        "lengths": torch.tensor(lengths, dtype=torch.int32),
        "counters": torch.zeros(runs * kv_heads, dtype=torch.int32),
        "max_length": max(lengths),
        "dtype": dtype,
    }


def apart(given):
    """The same by rope_cache and attention; what it returns and the cache that it wrote."""
    cache = KvCache(*(part if part is None else part.clone() for part in given["cache"]))
    lengths, tables = given["lengths"], given["block_tables"]
    used = lengths > 0
    queries = rope_cache(
        given["qkv"], given["bias"], given["query_weight"], given["key_weight"], given["epsilon"], given["cos_sin"],
        lengths[used] - 1, given["sequences"][used], tables, cache, given["dtype"],
    )  # fmt: skip
    place = (tables, given["sequences"], given["query_starts"], lengths)
    return attention(queries, cache, *place, 1, given["max_length"]), cache


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("cached", [torch.int8, torch.bfloat16])
@pytest.mark.parametrize(
    ("heads", "kv_heads", "head_dim", "norm", "bias"),
    [(4, 2, 128, True, False), (7, 1, 64, False, True), (3, 1, 96, True, True)],
)
def test_like_both_kernels(heads, kv_heads, head_dim, norm, bias, cached, dtype, seed):
    if cached == torch.bfloat16 and dtype != torch.bfloat16:
        cached = torch.float16
    given = step([SPLIT + 3, 0, 1, 65], heads, kv_heads, head_dim, dtype, norm, bias, seed, cached)
    expected, written = apart(given)
    found = attention_step(**given)
    assert found.dtype == dtype and not given["counters"].any()
    assert_close(found, expected)
    for name, ours, theirs in zip(written._fields, given["cache"], written, strict=True):
        if ours is None:
            continue
        if ours.dtype == torch.int8:
            # A norm that adds up in another order moves a quant by one.
            assert (ours.int() - theirs.int()).abs().max() <= (2 if norm else 0), name
        else:
            assert torch.equal(ours.isnan(), theirs.isnan()), name
            assert_close(ours.nan_to_num(), theirs.nan_to_num())
    if not norm:
        assert torch.equal(found, expected)


def test_a_row_does_not_depend_on_the_batch(seed):
    given = step([2 * SPLIT + 9, 130], 4, 2, 64, torch.float16, True, False, seed)
    both = attention_step(**given)
    given |= {"qkv": given["qkv"][:, 1:].contiguous(), "sequences": given["sequences"][1:]}
    given |= {"query_starts": given["query_starts"][:2], "lengths": given["lengths"][1:], "max_length": 130}
    assert torch.equal(attention_step(**given), both[1:])


def test_refusals(seed):
    good = step([5], 2, 1, 32, torch.float16, True, True, seed)
    for change, error, message in (
        ({"qkv": good["qkv"].half()}, KernelTypeError, "qkv: expected"),
        ({"qkv": good["qkv"][:, :, :64].contiguous()}, KernelShapeError, r"qkv: expected .*heads \+ 2 \* 1"),
        ({"dtype": torch.float32}, KernelTypeError, "dtype: expected"),
        ({"key_weight": None}, KernelConfigurationError, "expected both or none"),
        ({"epsilon": 0.0}, KernelConfigurationError, "epsilon"),
        ({"counters": good["counters"][:0]}, KernelShapeError, "counters: expected 1 runs times 1 heads"),
        ({"max_length": 65}, KernelConfigurationError, "max_length: expected at most 1 pages"),
        ({"lengths": good["lengths"].long()}, KernelTypeError, "lengths: expected"),
    ):
        with pytest.raises(error, match=message):
            attention_step(**{**good, **change})


def test_opcheck(seed):
    given = step([5, 0], 2, 1, 32, torch.float16, True, True, seed)
    cache = given.pop("cache")
    values = list(given.values())
    opcheck(torch.ops.qwen3edge.attention_step.default, (*values[:6], *cache, *values[6:]))
