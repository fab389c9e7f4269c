#include "probes/limits_simd.h"
#include "ukernels/simd_avx2.h"

namespace q3e {
namespace {

// The dot product of nibbles_avx2.h, the fastest of this tier: eight products are summed in int16, then widened and scaled.
int64_t dot_chain(int64_t rounds, int32_t* result) {
  constexpr int kChains = 12, kRun = 8;
  __m256i w = _mm256_set1_epi8(3), a = _mm256_set1_epi8(1), scale = _mm256_set1_epi16(1);
  Avx2::I totals[kChains / 2];
  for (int c = 0; c < kChains / 2; ++c) totals[c] = Avx2::iset1(c);
  const int64_t runs = rounds / kRun;
  for (int64_t i = 0; i < runs; ++i) {
    __v16hi sums[kChains];
    for (int c = 0; c < kChains; ++c) sums[c] = __v16hi{};
#pragma GCC unroll 1
    for (int k = 0; k < kRun; ++k)
#pragma GCC unroll 12
      for (int c = 0; c < kChains; ++c) {
        __asm__("" : "+x"(w));  // or all chains would share one product
        sums[c] += (__v16hi)_mm256_maddubs_epi16(w, a);
      }
    for (int c = 0; c < kChains / 2; ++c)
      totals[c] = Avx2::iadd(totals[c], {(__v8si)_mm256_madd_epi16((__m256i)sums[2 * c], scale),
                                         (__v8si)_mm256_madd_epi16((__m256i)sums[2 * c + 1], scale)});
  }
  Avx2::I total = Avx2::izero();
  for (int c = 0; c < kChains / 2; ++c) total = Avx2::iadd(total, totals[c]);
  *result = Avx2::ifold(total);
  return runs * kRun * kChains * 32 * 2;
}

}  // namespace

constinit const Limits limits_avx2 = {stream_simd<Avx2>, dot_chain};

}  // namespace q3e
