// Scores against pages of packed keys (int4), for any tier's vocabulary S: queries are multiplied with a page's scales and
// rounded to int8, anew for every page, as docs/decisions/int4-cache.md explains.
#pragma once

#include "ukernels/kernels.h"

namespace q3e {
namespace {

inline constexpr uint32_t kStripRows = 12;  // rows that are scored together: whole tiles of every tier

// What is read next is asked for twice: from memory into L2 a block ahead, from there into L1 half a block ahead. It is asked for
// in the order of its addresses, one stream to the machine's own prefetcher, whatever the order in which registers take it.
struct Prefetch {
  const uint8_t *near, *far;  // what comes next and after next while a tile is read, as long as the tile, or null
  template <class S>
  void at(size_t offset) const {
    if (!near) return;
    S::prefetch(near + offset);
    S::prefetch_far(far + offset);
  }
};

// The rows of a strip as a page of packed keys meets them: q * scale rounded to int8, anew for every page.
struct RoundedQueries {
  float scales[kStripRows], middles[kStripRows];  // middles: q . the page's middles
  int32_t sums[kStripRows];
  alignas(64) int8_t rows[kStripRows][kMaxHeadDim];
};

// NR rows together, so that one waits for its largest value while the others go on: as quantize_block_simd for each.
template <class S, int NR>
void round_queries(const float* const* q, const float* scales, uint32_t d, uint32_t first, RoundedQueries& rounded) {
  const float* middles = scales + d;
  typename S::F top[NR], middle[NR], inverse[NR];
  typename S::I total[NR];
  for (int r = 0; r < NR; ++r) top[r] = middle[r] = S::zero();
  for (uint32_t i = 0; i < d; i += 16) {
    const typename S::F scale = S::load(scales + i), shift = S::load(middles + i);
    for (int r = 0; r < NR; ++r) {
      const typename S::F x = S::load(q[r] + i);
      top[r] = S::max(S::abs(S::mul(x, scale)), top[r]);
      middle[r] = S::fma(x, shift, middle[r]);
    }
  }
  for (int r = 0; r < NR; ++r) {
    const float amax = S::fold_max(top[r]);
    rounded.scales[first + r] = amax / 127.0f;
    rounded.middles[first + r] = S::fold(middle[r]);
    inverse[r] = S::set1(amax > 0 ? 127.0f / amax : 0.0f);
    total[r] = S::izero();
  }
  const typename S::F low = S::set1(-127.0f), high = S::set1(127.0f);
  for (uint32_t i = 0; i < d; i += 16) {
    const typename S::F scale = S::load(scales + i);
    for (int r = 0; r < NR; ++r) {
      const typename S::F x = S::mul(S::mul(S::load(q[r] + i), scale), inverse[r]);
      const typename S::I code = S::to_int(S::min(S::max(x, low), high));
      S::store_s8(rounded.rows[first + r] + i, code);
      total[r] = S::iadd(total[r], code);
    }
  }
  for (int r = 0; r < NR; ++r) rounded.sums[first + r] = S::ifold(total[r]);
}

// scores[row][NP panels of 16] against packed keys, for NR rows from `first` on.
template <class S, int NR, int NP>
void score_codes(const RoundedQueries& rounded, uint32_t first, uint32_t d, const uint8_t* keys, const Prefetch& prefetch,
                 float* scores) {
  typename S::I acc[NR][NP];
  for (int i = 0; i < NR; ++i)
    for (int p = 0; p < NP; ++p) acc[i][p] = S::izero();
  for (uint32_t k = 0; k < d; k += 8) {
    typename S::W w[NP];
    for (int p = 0; p < NP; ++p) {
      w[p] = S::load_w(keys + (p * size_t{kPanelRows} * d / 2) + size_t{k} * 8);
      prefetch.at<S>((size_t{k} / 8 * NP + p) * 64);
    }
    for (int i = 0; i < NR; ++i) {
      const int8_t* q = rounded.rows[first + i] + k;
      for (int p = 0; p < NP; ++p) {
        acc[i][p] = S::dot_nibbles(acc[i][p], S::low_nibbles(w[p]), q);
        acc[i][p] = S::dot_nibbles(acc[i][p], S::high_nibbles(w[p]), q + 4);
      }
    }
  }
  for (int i = 0; i < NR; ++i)
    for (int p = 0; p < NP; ++p) {
      const typename S::I sum = S::isub(S::iadd(acc[i][p], acc[i][p]), S::iset1(15 * rounded.sums[first + i]));
      S::store(scores + size_t(i) * kKvBlock + p * kPanelRows,
               S::fma(S::to_float(sum), S::set1(rounded.scales[first + i]), S::set1(rounded.middles[first + i])));
    }
}

}  // namespace
}  // namespace q3e
