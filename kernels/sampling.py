"""Picks the next token of every row of logits: temperature, top-k, top-p, min-p, as csrc/runtime/sampler.cpp does.

Candidates are ordered by logit, equal ones by token. top-k keeps the first k; top-p those before which less than top_p
of the weight of these is reached, at least one; min-p those of at least min_p of the best's weight. Then one is drawn
by weight, in this order, with the CPU's generator (splitmix64, begun at `stream(seed, choice)`), so that the same
logits and seed give the CPU's token.
(It draws in the order of tokens where nothing is filtered, and its sums are float64: a draw on an edge may differ.)

Nothing is sorted. A cut in that order is a logit and a number of its equals; it is found by dividing the range of
logits as integers by nine and counting (or weighing) what reaches each of eight pivots. What makes this cheap: the k-th
largest of the maxima of 149 segments is no larger than the k-th largest logit, so the first kernel takes maxima, with
all of the device, and the second looks into the few segments that reach it and copies out the few logits that do.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from qwen3edge.kernels.arguments import WORKING_TYPES, expect
from qwen3edge.kernels.errors import KernelShapeError
from qwen3edge.kernels.specialization import ModelShape, Specialization

SEGMENT = 1024  # logits under one maximum
MAXIMA_AT_ONCE = 4  # four loads of 16 bytes a thread in flight
CHOSEN_AT_ONCE = 1
CANDIDATES_AT_ONCE = 512  # for a top-k of 20 all of them, most often
MAX_VOCABULARY = 1 << 24  # qwen3edge.config
WARPS = 8  # 64 registers and no spills on any target; none of seven other tiles tried does without

_NEVER = tl.constexpr(-(2**31))  # the key of NaN and -infinity, below all others


@triton.jit
def _key(logits):
    """int32 in the order of the logits; one for both zeros."""
    bits = (logits + 0.0).to(tl.int32, bitcast=True)
    key = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    return tl.where(logits > float("-inf"), key, _NEVER)


@triton.jit
def _logit(key):
    return (key ^ ((key >> 31) & 0x7FFFFFFF)).to(tl.float32, bitcast=True)


@triton.jit
def _weight(key, best, inverse_temperature, min_p):
    """exp((logit - best) / temperature), 0 below min_p."""
    weight = tl.exp((_logit(key) - _logit(best)) * inverse_temperature)
    weight = tl.where(key == best, 1.0, weight)  # also of infinity
    return tl.where(weight >= min_p, weight, 0.0)


@triton.jit
def _measure(
    keys, count, pivots, best, inverse_temperature, min_p,
    WEIGHTED: tl.constexpr, PIVOTS: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    """Weight (or number) of the candidates whose keys reach each pivot: [PIVOTS] float32."""
    i = tl.arange(0, TILE)
    sums = tl.zeros([PIVOTS], tl.float32)
    for first in range(0, count, TILE):
        key = tl.load(keys + first + i, mask=first + i < count, other=_NEVER)
        reached = key[:, None] >= pivots[None, :]
        if WEIGHTED:
            weight = tl.where(key > _NEVER, _weight(key, best, inverse_temperature, min_p), 0.0)
            sums += tl.sum(tl.where(reached, weight[:, None], 0.0), 0)
        else:
            sums += tl.sum(reached.to(tl.float32), 0)
    return sums


@triton.jit
def _reached_and_above(
    keys, count, key, best, inverse_temperature, min_p, WEIGHTED: tl.constexpr, TILE: tl.constexpr
):  # fmt: skip
    """Weight (or number) of the candidates of this key and above, and above alone."""
    i = tl.arange(0, 2)
    sums = _measure(keys, count, key + i, best, inverse_temperature, min_p, WEIGHTED, 2, TILE)
    return tl.sum(tl.where(i == 0, sums, 0.0), 0), tl.sum(tl.where(i == 1, sums, 0.0), 0)


@triton.jit
def _cut(
    keys, count, low, high, target, best, inverse_temperature, min_p,
    WEIGHTED: tl.constexpr, STRICT: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    """The largest key in low .. high (int64) that measures at least the target (STRICT: more); `low` is taken to."""
    while low < high:  # eleven times for a whole range of 2^32
        width = high - low
        sums = _measure(
            keys, count, low + (width * (tl.arange(0, 8) + 1) + 8) // 9,
            best, inverse_temperature, min_p, WEIGHTED, 8, TILE,
        )  # fmt: skip
        enough = sums > target if STRICT else sums >= target
        pivot = tl.sum(enough.to(tl.int64), 0)  # number of the last one that measures enough; 0: none does
        high = tl.where(pivot == 8, high, low + (width * (pivot + 1) + 8) // 9 - 1)
        low = tl.where(pivot == 0, low, low + (width * pivot + 8) // 9)
    return low


@triton.jit
def _uniform(seed, draws):
    """Output number `draws` of splitmix64 (Steele et al. 2014), its upper 24 bits, in [0, 1)."""
    z = seed.to(tl.uint64, bitcast=True) + (draws + 1).to(tl.uint64, bitcast=True) * 0x9E3779B97F4A7C15
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB
    z = z ^ (z >> 31)
    return (z >> 40).to(tl.int32).to(tl.float32) * (1.0 / 16777216.0)


@triton.jit(do_not_specialize=["segments"])
def sample_maxima_kernel(
    logits,  # [rows, vocabulary]
    maxima,  # [rows, segments] int32 keys
    vocabulary,
    segments,
    SEGMENT: tl.constexpr,
    AT_ONCE: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    segment = tl.program_id(1) * AT_ONCE + tl.arange(0, AT_ONCE)
    token = segment[:, None] * SEGMENT + tl.arange(0, SEGMENT)[None, :]
    values = tl.load(logits + row * vocabulary + token, mask=token < vocabulary, other=float("-inf")).to(tl.float32)
    tl.store(maxima + row * segments + segment, tl.max(_key(values), 1), mask=segment < segments)


@triton.jit(do_not_specialize=["segments"])
def sample_kernel(
    logits,  # [rows, vocabulary]
    maxima,  # [rows, segments] int32 keys
    temperatures,  # [rows] float32
    top_ks,  # [rows] int32
    top_ps,  # [rows] float32
    min_ps,  # [rows] float32
    seeds,  # [rows] int64
    draws,  # [rows] int64
    chosen,  # [rows, segments] int32: scratch
    keys,  # [rows, vocabulary] int32: scratch
    tokens,  # [rows, vocabulary] int32: scratch
    out,  # [rows] int32
    vocabulary,
    segments,
    SEGMENT: tl.constexpr,
    SEGMENTS: tl.constexpr,  # segments, rounded up to a power of two
    AT_ONCE: tl.constexpr,
    TILE: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    temperature = tl.load(temperatures + row)
    top_p = tl.load(top_ps + row)
    min_p = tl.load(min_ps + row)
    top_k = tl.where(temperature == 0, 1, tl.load(top_ks + row))
    inverse_temperature = 1.0 / temperature
    logits += row * vocabulary
    chosen += row * segments
    keys += row * vocabulary
    tokens += row * vocabulary

    at = tl.arange(0, SEGMENTS)
    maximum = tl.load(maxima + row * segments + at, mask=at < segments, other=_NEVER)
    best = tl.max(maximum, 0)
    valid = (best > _NEVER) & (temperature >= 0) & (top_k >= 0) & (top_p >= 0) & (min_p >= 0) & (min_p <= 1)
    if not valid:
        tl.store(out + row, -1)
    else:
        # The k-th largest maximum, by halves: what it does not reach is not among the first k.
        bound = (best * 0 + _NEVER + 1).to(tl.int64)
        if (top_k > 0) & (top_k < segments):
            high = best.to(tl.int64)
            while bound < high:
                middle = bound + (high - bound + 1) // 2
                enough = tl.sum((maximum >= middle).to(tl.int32), 0) >= top_k
                high = tl.where(enough, high, middle - 1)
                bound = tl.where(enough, middle, bound)
        reaches = (maximum >= bound).to(tl.int32)
        tl.store(chosen + tl.cumsum(reaches, 0) - 1, at, mask=reaches > 0)
        count_chosen = tl.sum(reaches, 0)
        tl.debug_barrier()
        count = count_chosen * 0
        inside = tl.arange(0, SEGMENT * AT_ONCE)
        for first in range(0, count_chosen, AT_ONCE):
            which = first + inside // SEGMENT
            segment = tl.load(chosen + which, mask=which < count_chosen, other=segments)
            token = segment * SEGMENT + inside % SEGMENT
            key = _key(tl.load(logits + token, mask=token < vocabulary, other=float("-inf")).to(tl.float32))
            taken = (key >= bound).to(tl.int32)
            place = count + tl.cumsum(taken, 0) - 1
            tl.store(keys + place, key, mask=taken > 0)
            tl.store(tokens + place, token, mask=taken > 0)
            count += tl.sum(taken, 0)
        tl.debug_barrier()

        # top-k: all above `cut` and the first `ties` that equal it. From here on a cut has both.
        lowest, best_wide = bound, best.to(tl.int64)
        cut, wanted = lowest, count.to(tl.float32)
        if (top_k > 0) & (top_k < count):
            wanted = top_k.to(tl.float32)
            cut = _cut(keys, count, lowest, best_wide, wanted, best, 1.0, 0.0, False, False, TILE)
        number, above = _reached_and_above(keys, count, cut, best, 1.0, 0.0, False, TILE)
        ties = tl.minimum(number, wanted) - above
        if top_p < 1:
            _, above = _reached_and_above(keys, count, cut, best, inverse_temperature, 0.0, True, TILE)
            here = _weight(cut.to(tl.int32), best, inverse_temperature, 0.0)
            target = top_p * (above + ties * here)
            nucleus = _cut(keys, count, cut, best_wide, target, best, inverse_temperature, 0.0, True, False, TILE)
            reached, above = _reached_and_above(keys, count, nucleus, best, inverse_temperature, 0.0, True, TILE)
            here = _weight(nucleus.to(tl.int32), best, inverse_temperature, 0.0)
            equals = tl.where(nucleus == cut, ties, tl.floor((reached - above) / here + 0.5))
            ties = tl.minimum(tl.maximum(tl.ceil((target - above) / here), 1.0), equals)
            # Weights that are 0 in float32 cannot be told apart, nor do they matter.
            ties = tl.where(here > 0, ties, 0.0)
            cut = nucleus
        _, above = _reached_and_above(keys, count, cut, best, inverse_temperature, min_p, True, TILE)
        here = _weight(cut.to(tl.int32), best, inverse_temperature, min_p)
        target = _uniform(tl.load(seeds + row), tl.load(draws + row)) * (above + ties * here)
        drawn = _cut(keys, count, cut, best_wide, target, best, inverse_temperature, min_p, True, True, TILE)
        _, above = _reached_and_above(keys, count, drawn, best, inverse_temperature, min_p, True, TILE)
        number, more = _reached_and_above(keys, count, drawn, best, 1.0, 0.0, False, TILE)
        here = _weight(drawn.to(tl.int32), best, inverse_temperature, min_p)
        equals = tl.where(drawn == cut, ties, number - more)
        index = tl.where(here > 0, tl.floor((target - above) / here), 0.0)
        index = tl.maximum(tl.minimum(index, equals - 1.0), 0.0)
        index = tl.where(temperature == 0, 0.0, index).to(tl.int32)
        # The token of that number among those of this key.
        i = tl.arange(0, TILE)
        found = index * 0
        passed = index * 0
        for first in range(0, count, TILE):
            same = tl.load(keys + first + i, mask=first + i < count, other=_NEVER) == drawn
            rank = passed + tl.cumsum(same.to(tl.int32), 0) - 1
            token = tl.load(tokens + first + i, mask=first + i < count, other=0)
            found += tl.sum(tl.where(same & (rank == index), token, 0), 0)
            passed += tl.sum(same.to(tl.int32), 0)
        tl.store(out + row, found)


def stream(seed: int, choice: int = 0) -> int:
    """Where the draws of an answer begin, for `seeds`: the CPU's hash of a seed and of which answer to it (0 to
    2**32 - 1), its 64 bits as a signed number.
    """
    state = seed
    for n in (0, choice):
        z = (state + (n + 1) * 0x9E3779B97F4A7C15) % 2**64
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
        state = z ^ (z >> 31)
    return state - 2**64 if state >= 2**63 else state


def sample(
    logits: torch.Tensor,
    temperature: torch.Tensor,
    top_k: torch.Tensor,
    top_p: torch.Tensor,
    min_p: torch.Tensor,
    seeds: torch.Tensor,
    draws: torch.Tensor,
) -> torch.Tensor:
    """Tokens [rows] int32; -1 for a row without a logit above -infinity (NaN is none) or with a parameter out of range.

    logits: [rows, vocabulary] float32, float16 or bfloat16; temperature, top_p, min_p: [rows] float32; top_k: [rows]
    int32; seeds: [rows] int64, of `stream`; draws: [rows] int64, the index of the token in its answer. Temperature 0
    is greedy; top_k 0, top_p 1, min_p 0 switch a filter off.
    Raises KernelTypeError, KernelShapeError.
    """
    return torch.ops.qwen3edge.sample(logits, temperature, top_k, top_p, min_p, seeds, draws)


@torch.library.custom_op("qwen3edge::sample", mutates_args=())
def _sample(
    logits: torch.Tensor,
    temperature: torch.Tensor,
    top_k: torch.Tensor,
    top_p: torch.Tensor,
    min_p: torch.Tensor,
    seeds: torch.Tensor,
    draws: torch.Tensor,
) -> torch.Tensor:
    expect("logits", logits, (torch.float32, *WORKING_TYPES), (None, None))
    rows, vocabulary = logits.shape
    if not 1 <= vocabulary <= MAX_VOCABULARY:
        raise KernelShapeError(f"logits: expected 1 to {MAX_VOCABULARY} columns, found {vocabulary}")
    for name, parameter, dtype in (
        ("temperature", temperature, torch.float32),
        ("top_k", top_k, torch.int32),
        ("top_p", top_p, torch.float32),
        ("min_p", min_p, torch.float32),
        ("seeds", seeds, torch.int64),
        ("draws", draws, torch.int64),
    ):
        expect(name, parameter, (dtype,), (rows,), logits)
    out = logits.new_empty((rows,), dtype=torch.int32)
    if rows:
        segments = triton.cdiv(vocabulary, SEGMENT)
        maxima, chosen = (logits.new_empty((rows, segments), dtype=torch.int32) for _ in range(2))
        keys, tokens = (logits.new_empty((rows, vocabulary), dtype=torch.int32) for _ in range(2))
        sample_maxima_kernel[(rows, triton.cdiv(segments, MAXIMA_AT_ONCE))](
            logits, maxima, vocabulary, segments, SEGMENT=SEGMENT, AT_ONCE=MAXIMA_AT_ONCE, num_warps=WARPS,
            num_stages=1, enable_fp_fusion=True,
        )  # fmt: skip
        sample_kernel[(rows,)](
            logits, maxima, temperature, top_k, top_p, min_p, seeds, draws, chosen, keys, tokens, out,
            vocabulary, segments, **_constants(vocabulary), num_warps=WARPS, num_stages=1,
            enable_fp_fusion=True,
        )  # fmt: skip
    return out


@_sample.register_fake
def _(logits, temperature, top_k, top_p, min_p, seeds, draws):
    return logits.new_empty((logits.shape[0],), dtype=torch.int32)


def _constants(vocabulary: int) -> dict[str, int]:
    return {
        "SEGMENT": SEGMENT,
        "SEGMENTS": triton.next_power_of_2(triton.cdiv(vocabulary, SEGMENT)),
        "AT_ONCE": CHOSEN_AT_ONCE,
        "TILE": CANDIDATES_AT_ONCE,
    }


def specializations(shape: ModelShape, target: str) -> list[Specialization]:
    """One row of float32 logits."""
    del target
    vocabulary = shape.vocabulary
    segments = triton.cdiv(vocabulary, SEGMENT)
    pointers = dict.fromkeys(("logits", "temperatures", "top_ps", "min_ps"), "*fp32")
    pointers |= dict.fromkeys(("maxima", "top_ks", "chosen", "keys", "tokens", "out"), "*i32")
    types = {**pointers, "seeds": "*i64", "draws": "*i64", "vocabulary": "i32", "segments": "i32"}
    maxima_constants = {"SEGMENT": SEGMENT, "AT_ONCE": MAXIMA_AT_ONCE}

    def of(name, kernel, constants, grid, moved, operations):
        return Specialization(
            name=name,
            kernel=kernel,
            signature={key: types[key] for key in kernel.arg_names if key not in constants},
            constexprs=constants,
            divisible_by_16=("vocabulary",) if vocabulary % 16 == 0 else (),
            num_warps=WARPS,
            num_stages=1,
            grid=grid,
            shape=f"vocabulary {vocabulary}, 1 row",
            bytes_moved=moved,
            operations=operations,
        )

    by_segments = f"(segments + {MAXIMA_AT_ONCE - 1}) / {MAXIMA_AT_ONCE}"
    return [
        of(
            "sample_maxima_f32",
            sample_maxima_kernel,
            maxima_constants,
            ("rows", by_segments, "1"),
            4 * (vocabulary + segments),
            3 * vocabulary,
        ),
        of(
            "sample_f32",
            sample_kernel,
            _constants(vocabulary),
            ("rows", "1", "1"),
            # With top_k 20: the segments of the best.
            4 * (segments + 20 * SEGMENT),
            3 * 20 * SEGMENT,
        ),
    ]
