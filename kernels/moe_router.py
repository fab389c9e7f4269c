"""Router of a mixture of experts: its product, softmax over all experts, the best few, their weights.

The product is float32 whatever the program around us allows torch: by TF32 near ties would choose other experts.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from qwen3edge.kernels.arguments import WORKING_TYPES, expect
from qwen3edge.kernels.errors import KernelShapeError
from qwen3edge.kernels.specialization import ModelShape, Specialization

# Scores of one program, [tokens, experts]: 16 a thread at 4 warps, so that the rounds of argmax stay in registers.
_SCORES = 2048
_WARPS = 4
_FEW_TOKENS = 8  # up to which each has programs of its own, so that one token wakes all of the device
_SCORES_ALONE = {"BLOCK_T": 1, "BLOCK_E": 4, "BLOCK_K": 256}
_SCORES_TOGETHER = {"BLOCK_T": 32, "BLOCK_E": 32, "BLOCK_K": 32}
MAX_EXPERTS = 1024
MAX_TOP_K = 32


@triton.jit(do_not_specialize=["tokens"])
def moe_scores_kernel(
    x,  # [tokens, K] float32
    router,  # [EXPERTS, K] float32
    scores,  # [tokens, EXPERTS] float32
    tokens,
    K,
    EXPERTS: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_E: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    e = tl.program_id(1) * BLOCK_E + tl.arange(0, BLOCK_E)
    expert = tl.minimum(e, EXPERTS - 1).to(tl.int64) * K
    i = tl.arange(0, BLOCK_K)
    if BLOCK_T == 1:
        t = tl.program_id(0).to(tl.int64)
        products = tl.zeros((BLOCK_E, BLOCK_K), tl.float32)
        for first in range(0, K, BLOCK_K):
            k = first + i
            a = tl.load(x + t * K + k, mask=k < K, other=0.0)
            w = tl.load(router + expert[:, None] + k[None, :], mask=(k < K)[None, :], other=0.0)
            products += w * a[None, :]
        tl.store(scores + t * EXPERTS + e, tl.sum(products, 1), mask=e < EXPERTS)
    else:
        t = (tl.program_id(0) * BLOCK_T + tl.arange(0, BLOCK_T)).to(tl.int64)
        sums = tl.zeros((BLOCK_T, BLOCK_E), tl.float32)
        for first in range(0, K, BLOCK_K):
            k = first + i
            inside = (t < tokens)[:, None] & (k < K)[None, :]
            a = tl.load(x + t[:, None] * K + k[None, :], mask=inside, other=0.0)
            w = tl.load(router + expert[None, :] + k[:, None], mask=(k < K)[:, None], other=0.0)
            sums = tl.dot(a, w, sums, input_precision="ieee")
        at = t[:, None] * EXPERTS + e[None, :]
        tl.store(scores + at, sums, mask=(t < tokens)[:, None] & (e < EXPERTS)[None, :])


@triton.jit(do_not_specialize=["tokens"])
def moe_router_kernel(
    logits,  # [tokens, EXPERTS]
    weights,  # [tokens, TOP_K] float32
    ids,  # [tokens, TOP_K] int32
    rows,  # [1] int32 or None: tokens that count, the others are padding
    tokens,
    EXPERTS: tl.constexpr,
    TOP_K: tl.constexpr,
    RENORMALIZE: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_E: tl.constexpr,  # EXPERTS, up to a power of two
    BLOCK_R: tl.constexpr,  # TOP_K, up to a power of two
):
    t = tl.program_id(0) * BLOCK_T + tl.arange(0, BLOCK_T)
    e = tl.arange(0, BLOCK_E)[None, :]
    r = tl.arange(0, BLOCK_R)[None, :]
    inside = (t < tokens)[:, None]
    at = t.to(tl.int64)[:, None]
    x = tl.load(logits + at * EXPERTS + e, mask=inside & (e < EXPERTS), other=float("-inf")).to(tl.float32)
    x = tl.where(inside, x, 0.0)  # no row is all -inf: its softmax would be NaN
    p = tl.exp(x - tl.max(x, axis=1)[:, None])
    total = tl.sum(p, axis=1)
    # A score that is NaN comes after all others and the padding last, so that every id is one of an expert.
    left = tl.where(e < EXPERTS, tl.where(p >= 0.0, p, -1.0), -2.0)
    best_p = tl.zeros((BLOCK_T, BLOCK_R), tl.float32)
    best_e = tl.zeros((BLOCK_T, BLOCK_R), tl.int32)
    chosen = tl.zeros((BLOCK_T,), tl.float32)
    for rank in tl.static_range(TOP_K):
        score = tl.max(left, axis=1)
        expert = tl.argmax(left, axis=1, tie_break_left=True)
        chosen += score
        best_p = tl.where(r == rank, score[:, None], best_p)
        best_e = tl.where(r == rank, expert[:, None], best_e)
        left = tl.where(e == expert[:, None], -2.0, left)
    # NaN in any score is NaN in the weights, whichever experts were chosen.
    whole = chosen + (total - total) if RENORMALIZE else total
    share = best_p / whole[:, None]
    if rows is not None:
        best_e = tl.where((t < tl.load(rows))[:, None], best_e, -1)
    store = inside & (r < TOP_K)
    tl.store(weights + at * TOP_K + r, share, mask=store)
    tl.store(ids + at * TOP_K + r, best_e, mask=store)


@torch.library.custom_op("qwen3edge::moe_scores", mutates_args=())
def moe_scores(x: torch.Tensor, router: torch.Tensor) -> torch.Tensor:
    """x [tokens, K] times router [experts, K], both float32 -> float32 [tokens, experts], no bit of them left out.

    Raises KernelShapeError, KernelTypeError.
    """
    expect("x", x, (torch.float32,), (None, None))
    tokens, K = x.shape
    expect("router", router, (torch.float32,), (None, K), x)
    experts = router.shape[0]
    scores = x.new_empty((tokens, experts))
    if scores.numel():
        tile = _scores_tile(tokens)
        grid = (triton.cdiv(tokens, tile["BLOCK_T"]), triton.cdiv(experts, tile["BLOCK_E"]))
        moe_scores_kernel[grid](
            x, router, scores, tokens, K, EXPERTS=experts, **tile, num_warps=_WARPS, num_stages=1, enable_fp_fusion=True
        )
    return scores


@moe_scores.register_fake
def _(x: torch.Tensor, router: torch.Tensor) -> torch.Tensor:
    return x.new_empty((x.shape[0], router.shape[0]))


def _scores_tile(tokens: int) -> dict[str, int]:
    return _SCORES_ALONE if tokens <= _FEW_TOKENS else _SCORES_TOGETHER


@torch.library.custom_op("qwen3edge::moe_router", mutates_args=())
def moe_router(
    logits: torch.Tensor, top_k: int, renormalize: bool, rows: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits [tokens, experts] -> weights float32 and ids int32, both [tokens, top_k], best first.

    Of equal scores the lower expert comes first. renormalize: the weights of a token add up to 1. rows: int32 [1],
    tokens from there on are padding and get the ids -1. Raises KernelShapeError, KernelTypeError.
    """
    tokens, experts = _checked(logits, top_k, rows)
    weights = torch.empty(tokens, top_k, dtype=torch.float32, device=logits.device)
    ids = torch.empty(tokens, top_k, dtype=torch.int32, device=logits.device)
    if tokens:
        constants, warps = _constants(tokens, experts, top_k, renormalize)
        grid = (triton.cdiv(tokens, constants["BLOCK_T"]),)
        moe_router_kernel[grid](
            logits, weights, ids, rows, tokens, **constants, num_warps=warps, num_stages=1, enable_fp_fusion=True
        )
    return weights, ids


@moe_router.register_fake
def _(
    logits: torch.Tensor, top_k: int, renormalize: bool, rows: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    shape = (logits.shape[0], top_k)
    return logits.new_empty(shape, dtype=torch.float32), logits.new_empty(shape, dtype=torch.int32)


def _checked(logits: torch.Tensor, top_k: int, rows: torch.Tensor | None) -> tuple[int, int]:
    expect("logits", logits, (torch.float32, *WORKING_TYPES), (None, None))
    experts = logits.shape[1]
    if not 1 <= top_k <= min(experts, MAX_TOP_K) or experts > MAX_EXPERTS:
        raise KernelShapeError(
            f"expected up to {MAX_EXPERTS} experts and top_k up to {MAX_TOP_K} of them, found {experts} and {top_k}"
        )
    if rows is not None:
        expect("rows", rows, (torch.int32,), (1,), logits)
    return logits.shape[0], experts


def _constants(tokens: int, experts: int, top_k: int, renormalize: bool) -> tuple[dict[str, int | bool], int]:
    block_e = triton.next_power_of_2(experts)
    block_t = max(1, _SCORES // block_e) if tokens > 1 else 1
    constants = {
        "EXPERTS": experts,
        "TOP_K": top_k,
        "RENORMALIZE": renormalize,
        "BLOCK_T": block_t,
        "BLOCK_E": block_e,
        "BLOCK_R": triton.next_power_of_2(top_k),
    }
    return constants, _WARPS if block_t > 1 else 1


def specializations(shape: ModelShape, target: str) -> list[Specialization]:
    """One token and a chunk of a prompt; none for a dense model."""
    del target
    if not shape.experts:
        return []
    found = []
    for tokens in (1, 512):
        tile, weights = _scores_tile(tokens), shape.experts * shape.hidden
        found.append(
            Specialization(
                name=f"moe_scores_f32_{shape.experts}_{tile['BLOCK_T']}",
                kernel=moe_scores_kernel,
                signature={"x": "*fp32", "router": "*fp32", "scores": "*fp32", "tokens": "i32", "K": "i32"},
                constexprs={"EXPERTS": shape.experts, **tile},
                divisible_by_16=("K",),
                num_warps=_WARPS,
                num_stages=1,
                grid=(
                    f"(tokens + {tile['BLOCK_T'] - 1}) / {tile['BLOCK_T']}",
                    str(triton.cdiv(shape.experts, tile["BLOCK_E"])),
                    "1",
                ),
                shape=f"{shape.experts}x{shape.hidden} router, {tokens} tokens",
                bytes_moved=4 * (weights + tokens * (shape.hidden + shape.experts)),
                operations=2 * tokens * weights,
            )
        )
        constants, warps = _constants(tokens, shape.experts, shape.experts_per_token, True)
        scores = tokens * shape.experts
        found.append(
            Specialization(
                name=f"moe_router_f32_{shape.experts}_{constants['BLOCK_T']}",
                kernel=moe_router_kernel,
                signature={"logits": "*fp32", "weights": "*fp32", "ids": "*i32", "rows": "*i32", "tokens": "i32"},
                constexprs=constants,
                divisible_by_16=(),
                num_warps=warps,
                num_stages=1,
                grid=(f"(tokens + {constants['BLOCK_T'] - 1}) / {constants['BLOCK_T']}", "1", "1"),
                shape=f"{shape.experts} experts, {tokens} tokens",
                bytes_moved=4 * scores + 8 * tokens * shape.experts_per_token,
                operations=scores * (3 + shape.experts_per_token),
            )
        )
    return found
