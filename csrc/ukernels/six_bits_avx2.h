// q6z times one token for AVX2, which has no dot product of int8: the head's product, once for each decoded token.
//
// vpmaddubsw of q in 0..63 with two activations is at most 63 * 127 * 2 = 16,002 in magnitude, so two of them add up in int16.
// One vpmaddwd then widens the sum and multiplies it with the group's step s for nothing, and the offset of a group meets the sum
// of the group's activations once. Weights made first, w8 = s * q + (4 - s) * c - 128, need twice the instructions; the integers
// are the same.
#pragma once

#include "ukernels/matmul_simd.h"
#include "ukernels/simd_avx2.h"

namespace q3e {
namespace {

// Eight rows of a run of 32 columns. isum + s * sum(q * a) + (4 - s) * c * sum(a): the code without its - 128.
// quants: half of q6 [2][3][16][4]; sc: half of [16][4], s - 1 + 4 c; select: byte g of each row into an int16, twice.
static inline __v8si add_run_q6(__v8si isum, const uint8_t* quants, const uint8_t* sc, __m256i select, const int8_t* a,
                                uint32_t sum) {
  const __m256i low = _mm256_set1_epi8(63), three = _mm256_set1_epi16(3), one = _mm256_set1_epi16(1);
  const __m256i v = _mm256_shuffle_epi8(Avx2::load256(sc), select);
  const __m256i less = _mm256_and_si256(v, three), s = _mm256_add_epi16(less, one);
  const __m256i offset = _mm256_mullo_epi16(_mm256_srli_epi16(v, 2), _mm256_sub_epi16(three, less));
  isum += (__v8si)_mm256_madd_epi16(offset, _mm256_set1_epi32(static_cast<int>(sum)));
  for (uint32_t half = 0; half < 2; ++half, quants += 192, a += 16) {
    const __m256i x = Avx2::load256(quants), y = Avx2::load256(quants + 64), z = Avx2::load256(quants + 128);
    const __m256i fourth = Avx2::high_pairs(x, y, z);
    const __m256i first_pair = _mm256_add_epi16(_mm256_maddubs_epi16(_mm256_and_si256(x, low), Avx2::broadcast(a)),
                                                _mm256_maddubs_epi16(_mm256_and_si256(y, low), Avx2::broadcast(a + 4)));
    const __m256i second_pair = _mm256_add_epi16(_mm256_maddubs_epi16(_mm256_and_si256(z, low), Avx2::broadcast(a + 8)),
                                                 _mm256_maddubs_epi16(fourth, Avx2::broadcast(a + 12)));
    isum += (__v8si)_mm256_madd_epi16(first_pair, s) + (__v8si)_mm256_madd_epi16(second_pair, s);
  }
  return isum;
}

// One panel. sums[columns / 32]: of each run of 32 activations, int16 in the low half and zero above.
static inline void direct_panel_q6(const MatrixView& w, const uint8_t* panel, const Activations& a, const uint32_t* sums,
                                   float* out) {
  Avx2::F acc = Avx2::zero();
  for (uint32_t b = 0; b < w.layout.blocks; ++b) {
    const uint32_t begin = b * kSuperBlock, end = begin + kSuperBlock < w.columns ? begin + kSuperBlock : w.columns;
    Avx2::I isum = Avx2::iset1(-128 * a.sums[b]);
    for (uint32_t k = begin; k < end; k += kColumnUnit) {
      prefetch_ahead<Avx2>(w, panel, k);
      const uint8_t* quants = panel + w.layout.quants + size_t{k} * 12;
      const uint8_t* sc = panel + w.layout.sub_scale + size_t{k / 128} * 64;
      const __m256i first = _mm256_setr_epi8(0, -1, 0, -1, 4, -1, 4, -1, 8, -1, 8, -1, 12, -1, 12, -1,  //
                                             0, -1, 0, -1, 4, -1, 4, -1, 8, -1, 8, -1, 12, -1, 12, -1);
      const __m256i select = _mm256_add_epi16(first, _mm256_set1_epi16(static_cast<int16_t>(k / kColumnUnit % 4)));
      const uint32_t sum = sums[k / kColumnUnit];
      isum.lo = add_run_q6(isum.lo, quants, sc, select, a.quants + k, sum);
      isum.hi = add_run_q6(isum.hi, quants + 32, sc + 32, select, a.quants + k, sum);
    }
    const Avx2::F d = Avx2::load_f16(panel + w.layout.scale + size_t{b} * 32);
    acc = finish_block<Avx2, FormatKind::q6z>(acc, isum, d, Avx2::zero(), a.scales[b], a.sums[b]);
  }
  Avx2::store(out, acc);
}

// Whether it is one token, and the sums of all columns fit the scratch of a call.
static inline bool direct_six_bits_fit(const MatrixView& w, uint32_t tokens) {
  return tokens == 1 && size_t{w.columns} / kColumnUnit * sizeof(uint32_t) <= kMatmulScratchBytes;
}

// As matmul_quantized in matmul_simd.h, for q6z.
static inline void direct_q6z(const MatrixView& w, uint32_t first, uint32_t last, const Activations& a, float* out,
                              uint8_t* scratch) {
  uint32_t* sums = reinterpret_cast<uint32_t*>(scratch);
  for (uint32_t k = 0; k < w.columns; k += kColumnUnit)
    sums[k / kColumnUnit] = static_cast<uint32_t>(Avx2::sum_run(a.quants + k)) & 0xffffu;
  for (uint32_t p = first; p < last; ++p)
    direct_panel_q6(w, w.data + p * w.layout.bytes, a, sums, out + size_t{p - first} * kPanelRows);
}

}  // namespace
}  // namespace q3e
