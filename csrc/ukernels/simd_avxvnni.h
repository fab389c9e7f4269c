// The AVX-VNNI vocabulary: AVX2's, but with vpdpbusd, the dot product of AVX-512 VNNI on 256-bit registers (client CPUs from
// Alder Lake on). As there, signed weights carry + 128.
#pragma once

#include "ukernels/simd_avx2.h"

namespace q3e {
namespace {

struct AvxVnni : Avx2 {
  // 6 tokens are 12 sums, which covers a latency of 5 at two a cycle; with a panel's weights and a quad of activations that is 15
  // registers of 16.
  static constexpr int kTileTokens = 6, kTilePanels = 1;
  static constexpr int kStripTokens = 3;
  static constexpr int32_t kSignedBias = 128;

  static W flip(W w) {
    const __m256i bit = _mm256_set1_epi8(-128);
    return {_mm256_xor_si256(w.lo, bit), _mm256_xor_si256(w.hi, bit)};
  }
  static W load_signed(const uint8_t* p) { return flip(load_w(p)); }
  static Group load_group(const uint8_t* sub_scales, const uint8_t* offsets, uint32_t groups, uint32_t g) {
    Group group = Avx2::load_group(sub_scales, offsets, groups, g);
    group.offset = flip(group.offset);
    return group;
  }
  static I dot_signed(I acc, W w, const int8_t* a) { return dot_nibbles(acc, w, a); }
  static I dot_nibbles(I acc, W w, const int8_t* a) {
    const __m256i v = broadcast(a);
    return {(__v8si)_mm256_dpbusd_avx_epi32((__m256i)acc.lo, w.lo, v), (__v8si)_mm256_dpbusd_avx_epi32((__m256i)acc.hi, w.hi, v)};
  }
};

}  // namespace
}  // namespace q3e
