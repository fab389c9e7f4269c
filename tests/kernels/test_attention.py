"""Attention over the paged cache, int8 or 16 bits, against torch: ragged, split, drafts, chunks, any group of heads."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.library import opcheck

from qwen3edge.kernels.attention import attention
from qwen3edge.kernels.attention_decode import SPLIT
from qwen3edge.kernels.errors import KernelConfigurationError, KernelShapeError, KernelTypeError
from qwen3edge.kernels.kv_cache import PAGE, KvCache
from qwen3edge.kernels.references import attention as reference
from qwen3edge.kernels.references import rope_cache
from tests.kernels.closeness import assert_close
from tests.kernels.paged import dealt_tables, poisoned_cache

DTYPES = [torch.float16, torch.bfloat16]
CACHES = [torch.int8, torch.float16]


def step(queries, lengths, heads, kv_heads, head_dim, dtype, seed, size=1.0, cached=torch.int8):
    """The arguments of one step: queries of each sequence, `lengths` positions in all; one sequence is left over."""
    random = torch.Generator().manual_seed(seed)
    sequences = torch.randperm(len(lengths) + 1, generator=random)[: len(lengths)].int()
    tables = dealt_tables(len(lengths) + 1, max([1, *lengths]), random)
    cache = poisoned_cache(tables.numel(), kv_heads, head_dim, cached)
    for sequence, length in zip(sequences.tolist(), lengths, strict=True):
        keys, values = (torch.randn(length, kv_heads, head_dim, generator=random) * size for _ in range(2))
        keys[::29] *= 8  # outliers
        values[7::31] *= 20
        rope_cache.write(cache, keys, values, torch.arange(length).int(), torch.full((length,), sequence), tables)
    starts = torch.tensor([0, *queries]).cumsum(0).int()
    q = torch.randn(sum(queries), heads, head_dim, generator=random) * size
    q[:, :, 3::41] *= 10
    return q.to(dtype), cache, tables, sequences, starts, torch.tensor(lengths, dtype=torch.int32)


def check(queries, lengths, heads, kv_heads, head_dim, dtype, seed, size=1.0, cached=torch.int8):
    arguments = step(queries, lengths, heads, kv_heads, head_dim, dtype, seed, size, cached)
    found = attention(*arguments, max(queries, default=0), max(lengths, default=0))
    assert found.dtype == dtype
    assert_close(found, reference.attention(*arguments))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("length", [1, 63, 64, 65, SPLIT, SPLIT + 1, 2 * SPLIT + 70])
def test_decode_across_pages_and_splits(length, dtype, seed):
    check([1, 1], [length, max(length - 3, 1)], 4, 2, 128, dtype, seed)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("queries", "lengths"),
    [
        ([70, 1, 0, 130], [70, 200, 5, 133]),  # prompts, a decoded token, a sequence that pads
        ([9, 65], [300, 129]),  # chunks after earlier context
    ],
)
def test_prefill(queries, lengths, dtype, seed):
    check(queries, lengths, 4, 2, 64, dtype, seed)


@pytest.mark.parametrize("cached", CACHES)
def test_drafts_are_causal(cached, seed):
    """Up to 16 rows of tokens and heads are one tile of the decode kernel."""
    check([4, 1, 3], [SPLIT + 2, 40, 3], 8, 2, 32, torch.float16, seed, cached=cached)


@pytest.mark.parametrize(
    ("dtype", "cached"),
    [(torch.float16, torch.float16), (torch.bfloat16, torch.bfloat16), (torch.bfloat16, torch.float16)],
)
@pytest.mark.parametrize(("heads", "kv_heads", "head_dim"), [(4, 2, 128), (3, 1, 96)])
def test_a_cache_without_scales(dtype, cached, heads, kv_heads, head_dim, seed):
    """Decode and prompts over pages whose unwritten rest is NaN."""
    check([1, 33, 1, 0], [SPLIT + 9, 101, 64, 5], heads, kv_heads, head_dim, dtype, seed, cached=cached)


@pytest.mark.parametrize(("heads", "kv_heads", "head_dim"), [(1, 1, 32), (7, 1, 96), (20, 1, 64), (6, 2, 256)])
def test_heads_of_any_number_and_size(heads, kv_heads, head_dim, seed):
    check([1, 2, 40], [70, 66, 90], heads, kv_heads, head_dim, torch.float16, seed)


@settings(max_examples=8, deadline=None)
@given(
    sequences=st.lists(st.tuples(st.integers(0, 20), st.integers(0, 150)), min_size=1, max_size=4),
    group=st.integers(1, 5),
    seed=st.integers(0, 2**32 - 1),
)
def test_ragged_steps(sequences, group, seed):
    queries = [q for q, _ in sequences]
    check(queries, [q + b for q, b in sequences], 2 * group, 2, 32, torch.float16, seed)


def test_one_answer_in_any_batch(seed):
    """A sequence's result does not depend on who else is in the batch, nor on grids that are too large."""
    q, cache, tables, sequences, starts, lengths = step([1, 1], [SPLIT + 9, 130], 4, 2, 64, torch.float16, seed)
    both = attention(q, cache, tables, sequences, starts, lengths, 1, SPLIT + 9)
    alone = attention(q[1:], cache, tables, sequences[1:], starts[:2], lengths[1:], 1, tables.shape[1] * PAGE)
    assert torch.equal(both[1:], alone)


def test_splits_of_a_row_do_not_depend_on_the_drafts_of_another(seed):
    """The last program of a run takes its tokens one by one, in a tile that follows from the heads alone."""
    q, cache, tables, sequences, starts, lengths = step([3, 1], [40, 9 * SPLIT], 4, 2, 32, torch.float16, seed)
    both = attention(q, cache, tables, sequences, starts, lengths, 3, 9 * SPLIT)
    alone = attention(q[3:], cache, tables, sequences[1:], starts[:2] // 3, lengths[1:], 1, 9 * SPLIT)
    assert torch.equal(both[3:], alone)
    assert_close(both, reference.attention(q, cache, tables, sequences, starts, lengths))


def test_counters_are_zero_again(seed):
    """So that the next launch, and the replay of a graph, need nobody to clear them."""
    counters = torch.zeros(7, dtype=torch.int32)
    arguments = step([1, 0, 2], [3 * SPLIT, 5, SPLIT + 1], 4, 2, 32, torch.float16, seed)
    first = attention(*arguments, 2, 3 * SPLIT, counters)
    assert not counters.any()
    assert torch.equal(attention(*arguments, 2, 3 * SPLIT, counters), first)


def test_values_beyond_float16(seed):
    """Queries and keys of bfloat16's range meet no float16 on the way."""
    check([1, 20], [40, 70], 4, 2, 32, torch.bfloat16, seed, size=1e6)
    check([1, 20], [40, 70], 4, 2, 32, torch.bfloat16, seed, size=1e6, cached=torch.bfloat16)


def test_zeros(seed):
    q, cache, *rest = step([1, 20], [40, 70], 2, 1, 32, torch.float16, seed)
    assert_close(
        attention(torch.zeros_like(q), cache, *rest, 20, 70), reference.attention(torch.zeros_like(q), cache, *rest)
    )
    for part in cache:
        part.zero_()
    assert not attention(q, cache, *rest, 20, 70).any()


@pytest.mark.parametrize("part", ["query", "key_scales", "value_scales", "keys", "values"])
@pytest.mark.parametrize("many", [False, True])
def test_nan_shows(part, many, seed):
    count = 20 if many else 1
    cached = torch.float16 if part in ("keys", "values") else torch.int8
    q, cache, tables, sequences, starts, lengths = step([count], [100], 2, 1, 32, torch.float16, seed, cached=cached)
    if part == "query":
        q[-1, 1, 5] = float("nan")
    else:
        getattr(cache, part)[tables[sequences[0], 0], 0, 17] = float("nan")
    found = attention(q, cache, tables, sequences, starts, lengths, count, 100)
    shown = found[-1, 1, 17] if part == "values" else found[-1, 1]  # a row of the transposed values is a dimension
    assert shown.isnan().all()
    if part == "query":
        assert found[-1, 0].isfinite().all() and found[:-1].isfinite().all()


def test_refusals(seed):
    q, cache, tables, sequences, starts, lengths = step([2], [10], 2, 1, 32, torch.float16, seed)
    good = [q, cache, tables, sequences, starts, lengths, 2, 10, torch.zeros(1, dtype=torch.int32)]
    cases = [
        (0, q.float(), KernelTypeError, "queries: expected"),
        (0, torch.zeros(2, 2, 64, dtype=torch.float16), KernelShapeError, "queries: expected"),
        (1, cache._replace(keys=cache.keys.float()), KernelTypeError, r"keys: expected torch\.int8"),
        (1, cache._replace(keys=cache.keys.half()), KernelTypeError, r"values: expected torch\.float16"),
        (1, KvCache.empty(1, 1, 32, dtype=torch.bfloat16), KernelTypeError, r"queries: expected torch\.bfloat16"),
        (1, cache._replace(value_scales=None), KernelTypeError, r"value_scales: expected a tensor for .* torch\.int8"),
        (
            1,
            KvCache.empty(1, 1, 32, dtype=torch.float16)._replace(key_scales=cache.key_scales),
            KernelTypeError,
            r"key_scales: expected none for a cache of torch\.float16",
        ),
        (2, tables.long(), KernelTypeError, "block_tables"),
        (3, sequences.long(), KernelTypeError, "sequences"),
        (4, starts[:-1], KernelShapeError, "query_starts"),
        (5, lengths.float(), KernelTypeError, "lengths"),
        (6, 11, KernelConfigurationError, "max_queries: expected 0 to max_length"),
        (7, PAGE + 1, KernelConfigurationError, "max_length: expected at most 1 pages"),
        (8, torch.zeros(0, dtype=torch.int32), KernelShapeError, "counters: expected 1 runs times 1 heads, found 0"),
        (8, torch.zeros(1), KernelTypeError, "counters: expected torch.int32"),
    ]
    for index, bad, error, message in cases:
        arguments = list(good)
        arguments[index] = bad
        with pytest.raises(error, match=message):
            attention(*arguments)
    with pytest.raises(KernelShapeError, match="multiple of 2"):
        attention(torch.zeros(2, 3, 32, dtype=torch.float16), KvCache.empty(1, 2, 32), *good[2:])


def test_empty_steps(seed):
    arguments = step([], [], 2, 1, 32, torch.float16, seed)
    assert attention(*arguments, 0, 0).shape == (0, 2, 32)
    arguments = step([0, 0], [0, 9], 2, 1, 32, torch.float16, seed)
    assert attention(*arguments, 1, 9).shape == (0, 2, 32)


@pytest.mark.parametrize("cached", CACHES)
def test_opcheck(cached, seed):
    q, cache, *rest = step([2], [10], 2, 1, 32, torch.float16, seed, cached=cached)
    opcheck(torch.ops.qwen3edge.attention.default, (q, *cache, *rest, torch.zeros(1, dtype=torch.int32), 2, 10))
