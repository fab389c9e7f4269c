// A tile of strips_simd.h by products of int8 matrices: pairs of tokens against pairs of rows, from the same panels.
#pragma once

#include "ukernels/simd_i8mm.h"
#include "ukernels/strips_simd.h"

namespace q3e {
namespace {

// One panel, whose strip I8mm::store_strip wrote. The last token of an odd number stands for itself and for the one it lacks.
template <class S, class K, bool whole, int NT, int NP>
  requires(S::kMatrixProducts)
[[gnu::noinline]] void strip_tile(const Strip<K>& strip, bool begin, float* out, size_t out_stride) {
  static_assert(NP == 1);
  constexpr int kPairs = (NT + 1) / 2, kRowPairs = kPanelRows / 2;
  typename S::F acc[NT];
  if constexpr (!whole)
    for (int t = 0; t < NT; ++t) acc[t] = begin ? S::zero() : S::load(out + size_t(t) * out_stride);
  const size_t vector = strip.panels * 64, token_count = strip.token_count;
  const uint8_t* weights = strip.weights;
  const float *scales = strip.scales, *minimum = strip.minimum;
  const typename K::Token* tokens = strip.tokens;
  const int8_t* quants[2 * kPairs];
  for (int t = 0; t < 2 * kPairs; ++t) quants[t] = strip.quants + size_t(t < NT ? t : NT - 1) * strip.quants_stride;
  size_t k = 0;
  for (uint32_t b = whole ? 1 : strip.blocks; b > 0; --b) {
    int32x4_t sums[kPairs][kRowPairs];  // row, row, next row, next row, with the pair's tokens in turns
    for (int p = 0; p < kPairs; ++p) {
      int32x4_t start = vdupq_n_s32(0);
      if constexpr (K::kBias) {
        const int32x2_t first = vdup_n_s32(tokens[2 * p].sum);
        const int32x2_t both = vset_lane_s32(tokens[2 * p + 1 < NT ? 2 * p + 1 : NT - 1].sum, first, 1);
        start = vcombine_s32(both, both);
      }
#pragma GCC unroll 8
      for (int r = 0; r < kRowPairs; ++r) sums[p][r] = start;
    }
    for (uint32_t q = strip.block_quads; q > 0; q -= 2, weights += 2 * vector, k += 8) {
      int8x16_t v[kPairs];
#pragma GCC unroll 4
      for (int p = 0; p < kPairs; ++p) v[p] = vcombine_s8(vld1_s8(quants[2 * p] + k), vld1_s8(quants[2 * p + 1] + k));
#pragma GCC unroll 8
      for (int r = 0; r < kRowPairs; ++r) {
        const int8x16_t w = vreinterpretq_s8_u8(vld1q_u8(weights + (r < kRowPairs / 2 ? 0 : vector) + r % (kRowPairs / 2) * 16));
#pragma GCC unroll 4
        for (int p = 0; p < kPairs; ++p) sums[p][r] = vmmlaq_s32(sums[p][r], w, v[p]);
      }
    }
    if constexpr (whole)
      for (int t = 0; t < NT; ++t) acc[t] = begin ? S::zero() : S::load(out + size_t(t) * out_stride);
    for (int t = 0; t < NT; ++t) {
      const int32x4_t* s = sums[t / 2];
      const auto rows = [&](int i) { return t % 2 ? vuzp2q_s32(s[i], s[i + 1]) : vuzp1q_s32(s[i], s[i + 1]); };
      const typename S::I isum = {rows(0), rows(2), rows(4), rows(6)};
      const typename S::F sa = S::set1(tokens[t].scale);
      acc[t] = S::fma(S::to_float(isum), S::mul(S::load(scales), sa), acc[t]);
      if constexpr (K::kMinimum) acc[t] = S::fma(S::set1(tokens[t].sum), S::mul(S::load(minimum), sa), acc[t]);
    }
    scales += strip.panels * kPanelRows;
    minimum += strip.panels * kPanelRows;
    tokens += token_count;
  }
  for (int t = 0; t < NT; ++t) S::store(out + size_t(t) * out_stride, acc[t]);
}

}  // namespace
}  // namespace q3e
