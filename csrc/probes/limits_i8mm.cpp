#include "probes/limits_simd.h"
#include "ukernels/simd_i8mm.h"

namespace q3e {
namespace {

// As a tile of strips_i8mm.h: three pairs of tokens against eight pairs of rows.
int64_t dot_chain(int64_t rounds, int32_t* result) {
  constexpr int kChains = 24;
  int8x16_t w = vdupq_n_s8(3), a = vdupq_n_s8(1);
  int32x4_t sums[kChains], total = vdupq_n_s32(0);
#pragma GCC unroll 24
  for (int c = 0; c < kChains; ++c) sums[c] = vdupq_n_s32(c);
  for (int64_t i = 0; i < rounds; ++i)
#pragma GCC unroll 24
    for (int c = 0; c < kChains; ++c) sums[c] = vmmlaq_s32(sums[c], w, a);
#pragma GCC unroll 24
  for (int c = 0; c < kChains; ++c) total = vaddq_s32(total, sums[c]);
  *result = vaddvq_s32(total);
  return rounds * kChains * 2 * 2 * 8 * 2;
}

}  // namespace

constinit const Limits limits_i8mm = {stream_simd<I8mm>, dot_chain};

}  // namespace q3e
