"""Causal attention over the paged cache: a ragged batch of prompt chunks, decoded tokens and drafts to verify.

Few rows (decode): the tokens of a run times the heads that share a key head, 16 at most, are the narrow side of
both products, S^T = K q^T and O^T = V^T p^T, so that the cache is the wide operand of the tensor cores. The context is
split at fixed positions, every 256; the program that is done last adds the splits up in order, so a result does not
depend on the batch. Many rows (prefill): S = q K^T and O = p V as usual, a block of rows against all of its context.

The cache goes into the tensor cores as it lies there. In 16 bits that is all. Int8 is neither converted nor unpacked:
what meets it, queries and weights, is split into two int8 of together 16 bits, high * 256 + low, and both products are
exact int32; with one int8 the tests' outliers cost an RMS error of 9e-2. Sums stay below 2^22, so they become float32
by an addition to a float's bits (I2F has a quarter of the throughput or less). The scales of keys multiply the scores,
those of values the weights. Weights are relative to the page's largest score, so that pages of small weights keep their
bits, too.
"""

from __future__ import annotations

import torch
import triton

from qwen3edge.kernels.arguments import WORKING_TYPES, expect
from qwen3edge.kernels.attention_decode import (
    SPLIT,
    attention_decode_kernel,
    decode_tile,
    query_limit,
)
from qwen3edge.kernels.attention_pages import LOG2_E
from qwen3edge.kernels.attention_prefill import attention_prefill_kernel, prefill_tile
from qwen3edge.kernels.configuration import target_of
from qwen3edge.kernels.errors import KernelConfigurationError, KernelShapeError, KernelTypeError
from qwen3edge.kernels.kv_cache import PAGE, KvCache, expect_cache
from qwen3edge.kernels.specialization import ModelShape, Specialization


def attention(
    queries: torch.Tensor,
    cache: KvCache,
    block_tables: torch.Tensor,
    sequences: torch.Tensor,
    query_starts: torch.Tensor,
    lengths: torch.Tensor,
    max_queries: int,
    max_length: int,
    counters: torch.Tensor | None = None,
) -> torch.Tensor:
    """Every query attends to its sequence up to itself; returns [tokens, heads, head_dim] in the type of queries.

    queries: [tokens, heads, head_dim] float16 or bfloat16, run by run: the last tokens of a sequence, whose entries are
    in the cache already; sequences: [runs] int32, rows of block_tables; query_starts: [runs + 1] int32, the tokens of
    run i are query_starts[i] .. query_starts[i + 1] - 1 (none: a run that pads the batch); lengths: [runs] int32,
    positions in the cache, these queries among them. max_queries and max_length bound them on the host, where grids are
    made; a bound that is too large costs empty programs. counters: int32 [runs * kv_heads at least], zeros, which they
    are again afterwards; without it a launch more makes some. Tokens of no run are left undefined.
    Raises KernelTypeError, KernelShapeError, KernelConfigurationError.
    """
    if counters is None:
        counters = torch.zeros(sequences.shape[0] * cache.keys.shape[1], dtype=torch.int32, device=queries.device)
    return torch.ops.qwen3edge.attention(
        queries, *cache, block_tables, sequences, query_starts, lengths, counters, max_queries, max_length
    )


@torch.library.custom_op("qwen3edge::attention", mutates_args=("counters",))
def _attention(
    queries: torch.Tensor,
    keys: torch.Tensor,
    key_scales: torch.Tensor | None,
    values: torch.Tensor,
    value_scales: torch.Tensor | None,
    block_tables: torch.Tensor,
    sequences: torch.Tensor,
    query_starts: torch.Tensor,
    lengths: torch.Tensor,
    counters: torch.Tensor,
    max_queries: int,
    max_length: int,
) -> torch.Tensor:
    expect("queries", queries, WORKING_TYPES, (None, None, None))
    kv_heads, head_dim = expect_cache(KvCache(keys, key_scales, values, value_scales), block_tables, queries)
    if keys.dtype == torch.bfloat16 and queries.dtype != torch.bfloat16:
        # They meet as bfloat16: three bits of the queries, and much of large scores, would be lost.
        raise KernelTypeError(f"queries: expected torch.bfloat16 for such a cache, found {queries.dtype}")
    tokens, heads, found_dim = queries.shape
    if found_dim != head_dim or heads == 0 or heads % kv_heads:
        raise KernelShapeError(
            f"queries: expected [any, a multiple of {kv_heads}, {head_dim}], found {list(queries.shape)}"
        )
    expect("sequences", sequences, (torch.int32,), (None,), queries)
    runs = sequences.shape[0]
    expect("query_starts", query_starts, (torch.int32,), (runs + 1,), queries)
    expect("lengths", lengths, (torch.int32,), (runs,), queries)
    expect("counters", counters, (torch.int32,), (None,), queries)
    if len(counters) < runs * kv_heads:
        raise KernelShapeError(f"counters: expected {runs} runs times {kv_heads} heads, found {len(counters)}")
    if not 0 <= max_length <= block_tables.shape[1] * PAGE:
        raise KernelConfigurationError(
            f"max_length: expected at most {block_tables.shape[1]} pages of {PAGE} positions, found {max_length}"
        )
    if not 0 <= max_queries <= max_length:
        raise KernelConfigurationError(f"max_queries: expected 0 to max_length ({max_length}), found {max_queries}")
    out = torch.empty_like(queries)
    if tokens == 0 or runs == 0 or max_queries == 0:
        return out
    group, limit = heads // kv_heads, query_limit(heads // kv_heads)
    scale = LOG2_E / head_dim**0.5
    cached = (keys, key_scales, values, value_scales)
    place = (block_tables, sequences, query_starts, lengths)
    few = min(max_queries, limit)
    splits = triton.cdiv(max_length, SPLIT)
    sums = queries.new_empty((splits, runs, few, heads, head_dim), dtype=torch.float32)
    statistics = queries.new_empty((splits, runs, few, heads, 2), dtype=torch.float32)
    target = target_of(queries.device)
    tile, options = decode_tile(head_dim, group, few, target)
    attention_decode_kernel[(splits, kv_heads, runs)](
        queries, *cached, *place, counters, out, sums, statistics, scale, heads, kv_heads, block_tables.shape[1], few,
        **tile, **options, enable_fp_fusion=True,
    )  # fmt: skip
    if max_queries > limit:
        tile, options = prefill_tile(head_dim, group, target)
        attention_prefill_kernel[(triton.cdiv(max_queries * group, tile["ROWS"]), kv_heads, runs)](
            queries, *cached, *place, out, scale, heads, kv_heads, block_tables.shape[1], limit,
            **tile, **options, enable_fp_fusion=True,
        )  # fmt: skip
    return out


@_attention.register_fake
def _(
    queries,
    keys,
    key_scales,
    values,
    value_scales,
    block_tables,
    sequences,
    query_starts,
    lengths,
    counters,
    max_queries,
    max_length,
):
    return torch.empty_like(queries)


def specializations(shape: ModelShape, target: str) -> list[Specialization]:
    """Decode of one token after 4096 positions, and of as many as it takes, as beside a prompt; a prompt of 512 tokens;
    int8 and bfloat16.
    """
    return _specializations(shape, target, "i8") + _specializations(shape, target, "bf16")


def _specializations(shape: ModelShape, target: str, cached: str) -> list[Specialization]:
    group, context, prompt, dim = shape.heads // shape.kv_heads, 4096, 512, shape.head_dim
    types = {
        **dict.fromkeys(("queries", "out", "to"), "*bf16"),
        **dict.fromkeys(("keys", "values"), f"*{cached}"),
        **dict.fromkeys(("key_scales", "value_scales", "sums", "statistics"), "*fp32"),
        **dict.fromkeys(("block_tables", "sequences", "query_starts", "lengths", "counters"), "*i32"),
        **dict.fromkeys(("heads", "kv_heads", "max_pages", "limit"), "i32"),
        "scale": "fp32",
    }

    absent = {} if cached == "i8" else {"key_scales": None, "value_scales": None}

    def of(name, kernel, tile, **rest):
        constants = tile | {name: None for name in absent if name in kernel.arg_names}
        signature = {key: types[key] for key in kernel.arg_names if key not in constants}
        return Specialization(
            name=name, kernel=kernel, signature=signature, constexprs=constants, divisible_by_16=(), **rest
        )

    entry = 2 * shape.kv_heads * (2 * dim if absent else dim + 4)  # bytes of a position
    vectors = shape.heads * dim
    prefill, prefill_options = prefill_tile(dim, group, target)
    splits = context // SPLIT
    what = f"{shape.heads} heads of {dim} on {shape.kv_heads}"
    decodes = []
    for tokens in dict.fromkeys((1, query_limit(group))):
        decode, decode_options = decode_tile(dim, group, tokens, target)
        decodes.append(
            of(
                f"attention_decode_bf16_{cached}_{dim}x{group}" + (f"_{tokens}" if tokens > 1 else ""),
                attention_decode_kernel,
                decode,
                **decode_options,
                grid=(f"(max_length + {SPLIT - 1}) / {SPLIT}", "kv_heads", "runs"),
                shape=f"{what}, {tokens} token{'s' * (tokens > 1)} after {context}",
                bytes_moved=context * entry + tokens * (2 * vectors + 4 * splits * (vectors + 2 * shape.heads)),
                operations=4 * context * tokens * vectors,
                weight_arguments=("keys", "values"),
            )
        )
    return [
        *decodes,
        of(
            f"attention_prefill_bf16_{cached}_{dim}x{group}",
            attention_prefill_kernel,
            prefill,
            **prefill_options,
            grid=(
                f"(max_queries * (heads / kv_heads) + {prefill['ROWS'] - 1}) / {prefill['ROWS']}",
                "kv_heads",
                "runs",
            ),
            shape=f"{what}, {prompt} tokens",
            bytes_moved=prompt * (entry + 4 * vectors),
            operations=2 * prompt * (prompt + 1) * vectors,
            weight_arguments=("keys", "values"),
        ),
    ]
