// Attention's softmax: a strip of rows against one block of the cache, for any tier's vocabulary S.
#pragma once

#include "ukernels/attention_rows.h"
#include "ukernels/math_simd.h"

namespace q3e {
namespace {

// Rows whose scores and weights are held at once.
template <uint32_t rows>
struct AttentionStrip {
  static_assert(rows <= kLaneRows);
  float corrections[kLaneRows], weight_scales[kLaneRows];
  int32_t weight_sums[kLaneRows];
  alignas(64) float scores[rows][kKvBlock];         // then weights, when values are not integers
  alignas(64) uint8_t weights[rows][2 * kKvBlock];  // integer values: high seven bits, then low seven bits
};

// Scores of rows [first, first + count) against the block at `start` become weights 2^(s - m), zero for positions that a row does
// not see. With int8 values a weight takes its value's scale and becomes an integer of 14 bits, relative to the row's largest.
// whole: all rows see all of the block. `first` counts the state's rows.
template <class S, KvType type, bool whole, uint32_t rows>
void softmax_strip(uint32_t first, uint32_t count, uint32_t start, const float* value_scales, AttentionState& state,
                   AttentionStrip<rows>& strip) {
  using F = typename S::F;
  // Lanes of positions that row i does not see take the value v.
  const auto masked = [&](F x, uint32_t i, uint32_t panel, float v) __attribute__((always_inline)) {
    if constexpr (whole) return x;
    const uint32_t seen = state.positions[first + i] - start + 1, before = panel * kPanelRows;
    return S::first_lanes(x, seen > before ? seen - before : 0, S::set1(v));
  };
  float tops[kLaneRows] = {}, sums[kLaneRows] = {}, shifts[kLaneRows], inverses[kLaneRows];
  for (uint32_t i = 0; i < count; ++i) {
    F top = S::set1(-1e30f);
    for (uint32_t j = 0; j < kBlockPanels; ++j)
      top = S::max(masked(S::load(strip.scores[i] + j * kPanelRows), i, j, -1e30f), top);
    tops[i] = S::fold_max(top);
  }
  float *const maxima = state.maxima + first, *const denominators = state.denominators + first;
  const float* const q_scales = state.q_scales + first;
  const F before = S::load(maxima);
  const F maximum = S::max(S::mul(S::load(tops), S::load(q_scales)), before);
  const F correction = exp2_simd<S>(S::sub(before, maximum));
  S::store(maxima, S::first_lanes(maximum, count, before));
  S::store(strip.corrections, correction);
  S::store(shifts, S::negate(maximum));
  for (uint32_t i = 0; i < count; ++i) {
    const F scale = S::set1(q_scales[i]), shift = S::set1(shifts[i]);
    F sum = S::zero(), top = S::zero();
    for (uint32_t j = 0; j < kBlockPanels; ++j) {
      float* at = strip.scores[i] + j * kPanelRows;
      F p = masked(exp2_simd<S>(S::fma(S::load(at), scale, shift)), i, j, 0);
      sum = S::add(sum, p);
      if constexpr (is_integer(type)) {
        p = masked(S::mul(p, S::load(value_scales + j * kPanelRows)), i, j, 0);
        top = S::max(p, top);
      }
      S::store(at, p);
    }
    sums[i] = S::fold(sum);
    if constexpr (is_integer(type)) tops[i] = S::fold_max(top);
  }
  const F denominator = S::load(denominators);
  S::store(denominators, S::first_lanes(S::fma(denominator, correction, S::load(sums)), count, denominator));
  if constexpr (is_integer(type)) {
    const F top = S::max(S::load(tops), S::set1(kLeastWeight));
    S::store(inverses, S::div(S::set1(kLargestWeight), top));
    S::store(strip.weight_scales, S::mul(top, S::set1(1 / kLargestWeight)));
    for (uint32_t i = 0; i < count; ++i) {
      typename S::I w[kBlockPanels];
      for (uint32_t j = 0; j < kBlockPanels; ++j)
        w[j] = S::to_int(S::mul(S::load(strip.scores[i] + j * kPanelRows), S::set1(inverses[i])));
      S::store_weights(strip.weights[i], strip.weights[i] + kKvBlock, w);
      if constexpr (type == KvType::int4) strip.weight_sums[i] = S::ifold(S::iadd(S::iadd(w[0], w[1]), S::iadd(w[2], w[3])));
    }
  }
}

// The same; `whole` is found out.
template <class S, KvType type, uint32_t rows>
void softmax_strip(uint32_t first, uint32_t count, uint32_t start, const float* value_scales, AttentionState& state,
                   AttentionStrip<rows>& strip) {
  if (state.positions[first] - start + 1 >= kKvBlock)
    softmax_strip<S, type, true>(first, count, start, value_scales, state, strip);
  else
    softmax_strip<S, type, false>(first, count, start, value_scales, state, strip);
}

}  // namespace
}  // namespace q3e
