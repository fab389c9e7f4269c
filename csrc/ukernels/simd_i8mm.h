// The vocabulary of 64-bit Arm with products of int8 matrices (smmla, from Armv8.6 on): two rows by two tokens by eight k an
// instruction, for a matmul of many tokens. All else is as with dot products.
#pragma once

#include "ukernels/simd_dotprod.h"

namespace q3e {
namespace {

struct I8mm : DotProd {
  static constexpr bool kMatrixProducts = true;
  static constexpr int kTileTokens = 6, kStripTokens = 4;  // three pairs are 24 sums of 32 registers

  // Two quads of k of 16 rows become eight k of each row, as smmla reads them: rows 0 to 7, then rows 8 to 15.
  static void store_strip(uint8_t* first, uint8_t* second, const W* v) {
    const auto store = [](uint8_t* to, uint8x16_t low, uint8x16_t high) {
      const uint32x4_t a = vreinterpretq_u32_u8(low), b = vreinterpretq_u32_u8(high);
      vst1q_u8(to, vreinterpretq_u8_u32(vzip1q_u32(a, b)));
      vst1q_u8(to + 16, vreinterpretq_u8_u32(vzip2q_u32(a, b)));
    };
    store(first, v[0].a, v[1].a);
    store(first + 32, v[0].b, v[1].b);
    store(second, v[0].c, v[1].c);
    store(second + 32, v[0].d, v[1].d);
  }
};

}  // namespace
}  // namespace q3e
