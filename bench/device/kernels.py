"""Each kernel on the device against its reference in torch, and against itself: two runs must be equal, bit by bit."""

from __future__ import annotations

from collections.abc import Callable

import torch

from bench.device.context import Context
from bench.device.random_weights import random_matrix
from qwen3edge.kernels.attention import attention
from qwen3edge.kernels.kv_cache import KvCache
from qwen3edge.kernels.moe_align import moe_align
from qwen3edge.kernels.moe_router import moe_router, moe_scores
from qwen3edge.kernels.packing import DeviceMatrix
from qwen3edge.kernels.panels import PACKED_FORMATS
from qwen3edge.kernels.quantized_matmul import gated_product, product_parts
from qwen3edge.kernels.references import attention as attention_reference
from qwen3edge.kernels.references import moe, packing
from qwen3edge.kernels.references import rmsnorm as rmsnorm_reference
from qwen3edge.kernels.references import rope_cache as rope_reference
from qwen3edge.kernels.references import silu_mul as silu_reference
from qwen3edge.kernels.rmsnorm import rmsnorm
from qwen3edge.kernels.rope_cache import rope_cache, rotary_table
from qwen3edge.runtime.torch_backend.pages import pages_for
from tests.kernels.closeness import MAX_ERROR, RMS_ERROR, errors


def run(context: Context) -> None:
    """In the order of a forward pass, products last, which are most."""
    # Fills what kernels are given unwritten with NaN and large numbers.
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(0)
    norms(context)
    rotary(context)
    attentions(context)
    experts(context)
    products(context)


def compare(context: Context, name: str, run: Callable[[], torch.Tensor], expected: torch.Tensor) -> None:
    """One result: within the bounds of the tests, and the same a second time."""
    first, second = run(), run()
    largest, rms = errors(first.cpu(), expected.cpu())
    same = bool(torch.equal(first.nan_to_num(1e30), second.nan_to_num(1e30)))
    right = largest <= MAX_ERROR and rms <= RMS_ERROR
    context.result(name, right and same, largest, "of the largest error allowed 0.02", rms=rms, repeated=same)


def norms(context: Context) -> None:
    for columns in (64,) if context.interpreted else (1024, 2560, 4096):
        x, parts = (torch.randn(*shape, columns, device=context.place) for shape in ((3,), (4, 3)))
        weight = torch.rand(columns, device=context.place) + 0.5
        expected = rmsnorm_reference.rmsnorm(x + parts.sum(0), weight, 1e-6)
        run = lambda x=x, parts=parts, weight=weight: rmsnorm(x.clone(), weight, 1e-6, context.dtype, parts)  # noqa: E731
        compare(context, f"rmsnorm of {columns} with 4 parts", run, expected)


def rotary(context: Context) -> None:
    for heads, kv_heads, head_dim in (
        ((2, 1, 32),) if context.interpreted else ((16, 8, 128), (32, 4, 128), (14, 2, 64))
    ):
        tokens, positions = 5, torch.tensor([0, 63, 64, 65, 200], dtype=torch.int32, device=context.place)
        qkv = torch.randn(2, tokens, (heads + 2 * kv_heads) * head_dim, device=context.place)
        table = rotary_table(1e6 ** -(torch.arange(0, head_dim, 2, device=context.place) / head_dim), 256)
        weights = [torch.rand(head_dim, device=context.place) + 0.5 for _ in range(2)]
        sequences = torch.zeros(tokens, dtype=torch.int32, device=context.place)
        tables = torch.arange(4, dtype=torch.int32, device=context.place)[None]
        cache = KvCache.empty(4, kv_heads, head_dim, context.place)
        summed = qkv.sum(0).to(context.dtype)
        wanted, *_ = rope_reference.project(summed, None, *weights, 1e-6, table[positions.long()], kv_heads)

        def run(
            cache=cache, qkv=qkv, weights=weights, table=table, positions=positions, sequences=sequences, tables=tables
        ):
            return rope_cache(qkv, None, *weights, 1e-6, table, positions, sequences, tables, cache, context.dtype)

        compare(context, f"rope_cache of {heads} + 2 x {kv_heads} heads of {head_dim}", run, wanted)


def attentions(context: Context) -> None:
    small = context.interpreted
    shapes = ((2, 1, 32),) if small else ((16, 8, 128), (32, 8, 128), (32, 4, 128), (6, 2, 256), (14, 2, 64))
    lengths = (1, 65, 300) if small else (1, 63, 64, 65, 257, 4097, 32768)
    for cached in (torch.int8,) if small else (torch.int8, torch.bfloat16):
        for heads, kv_heads, head_dim in shapes:
            pages = sum(pages_for(length) for length in lengths)
            cache = filled_cache(pages, kv_heads, head_dim, cached, context.place)
            tables = torch.zeros(len(lengths), pages_for(max(lengths)), dtype=torch.int32)
            order, first = torch.randperm(pages).int(), 0
            for sequence, length in enumerate(lengths):
                count = pages_for(length)
                tables[sequence, :count] = order[first : first + count]
                first += count
            for name, queries in {"decode": [1] * len(lengths), "a prompt": [0] * (len(lengths) - 1) + [40]}.items():
                starts = torch.tensor([0, *queries]).cumsum(0).int()
                q = torch.randn(sum(queries), heads, head_dim).to(context.place, context.dtype)
                place = (tables, torch.arange(len(lengths)).int(), starts, torch.tensor(lengths).int())
                on_device = [x.to(context.place) for x in place]
                expected = attention_reference.attention(
                    q.cpu(), KvCache(*(part if part is None else part.cpu() for part in cache)), *place
                )

                def run(q=q, cache=cache, on_device=on_device, queries=queries):
                    return attention(q, cache, *on_device, max(queries), max(lengths))

                what = f"attention, {name}, {heads} on {kv_heads} heads of {head_dim}, cache of {cached}"
                compare(context, what, run, expected)


def filled_cache(pages: int, kv_heads: int, head_dim: int, dtype: torch.dtype, place: torch.device) -> KvCache:
    """Random entries; int8 with scales that differ by position."""
    cache = KvCache.empty(pages, kv_heads, head_dim, place, dtype)
    for entries, scales in ((cache.keys, cache.key_scales), (cache.values, cache.value_scales)):
        if scales is None:
            entries.copy_(torch.randn(entries.shape))
        else:
            entries.copy_(torch.randint(-127, 128, entries.shape))
            scales.copy_((torch.rand(scales.shape) + 0.5) / 64)
    return cache


def experts(context: Context) -> None:
    """The sorting 300 times: a race shows by chance."""
    tokens, runs = (40, 2) if context.interpreted else (2048, 300)
    for count in (16, 32, 128):
        ids = torch.rand(tokens, count).argsort(dim=1)[:, :2].int().contiguous()
        order, owners = moe.moe_align(ids, count, 16)
        wrong = 0
        on_device = ids.to(context.place)
        for _ in range(runs):
            found, owned = moe_align(on_device, count, 16)
            wrong += found.tolist()[: len(order)] != order or owned.tolist()[: len(owners)] != owners
        context.result(f"{tokens * 2} pairs sorted by {count} experts, {runs} times", wrong == 0, wrong, "wrong")
        x, router = torch.randn(9, 64), torch.randn(count, 64)
        scores = (x.double() @ router.double().T).float()
        _, best = moe.moe_router(scores, 2, True)

        def run(x=x, router=router):
            return moe_router(moe_scores(x.to(context.place), router.to(context.place)), 2, True)[1]

        context.result(f"the router of {count} experts", bool((run().cpu() == best).all()))


def products(context: Context) -> None:
    small = context.interpreted
    names = [name for name, fmt in PACKED_FORMATS.items() if fmt.kind != "dense"]
    for name in ("q4z64", "q8") if small else names:
        rows, columns = (64, 256) if small else (1040, 1152)
        matrix = random_matrix(name, rows, columns, context.place)
        expected_weights = packing.weights(matrix).double()
        for tokens in (1, 3) if small else (1, 8, 9, 32, 33, 64, 65, 512, 2048):
            x = torch.randn(tokens, columns, device=context.place).to(context.dtype)
            expected = x.double() @ expected_weights.T
            for int8 in (False, True):
                if int8 and tokens not in (1, 9, 512):
                    continue
                if int8:  # its rounding of activations is not an error of the kernel
                    block = matrix.packed_format.block
                    quants, scales = rmsnorm_reference.quantize(x.float(), block)
                    expected = rmsnorm_reference.dequantize(quants, scales, block).double() @ expected_weights.T
                run = lambda x=x, matrix=matrix, int8=int8: product_parts(x, [matrix], int8=int8).sum(0)  # noqa: E731
                kind = "int8" if int8 else "float"
                compare(context, f"product of {name}, {tokens} tokens, {kind} activations", run, expected.float())
    gate, up = (packing.weights(random_matrix("q4z64", 64, 256, context.place)) for _ in range(2))
    turns = torch.stack([gate.unflatten(0, (-1, 16)), up.unflatten(0, (-1, 16))], dim=1).flatten(0, 2)
    both = DeviceMatrix("bf16", 128, 256, dense=turns.to(context.dtype))
    for tokens in (1, 40):
        x = torch.randn(tokens, 256, device=context.place).to(context.dtype)
        wide = x.float() @ torch.cat([gate, up]).to(context.dtype).float().T
        run = lambda x=x: gated_product(x, both)  # noqa: E731
        compare(context, f"gate and up with SiLU, {tokens} tokens", run, silu_reference.silu_mul(wide))
    pair = [random_matrix("q4z64", 96, 512, context.place), random_matrix("q6z32", 48, 512, context.place)]
    for tokens in (1, 9) if small else (1, 9, 512):
        x = torch.randn(tokens, 512, device=context.place).to(context.dtype)
        expected = torch.cat([x.double() @ packing.weights(matrix).double().T for matrix in pair], dim=1)
        run = lambda x=x: product_parts(x, pair).sum(0)  # noqa: E731
        compare(context, f"two formats in one launch, {tokens} tokens", run, expected.float())
