// The vocabulary of 64-bit Arm with dot products of int8 (sdot, from Armv8.2 on).
#pragma once

#include "ukernels/simd_neon.h"

namespace q3e {
namespace {

struct DotProd : Neon {
  static I dot_signed(I acc, W w, const int8_t* quad) {
    const int8x16_t v = broadcast(quad);
    return each(acc, w, [&](int32x4_t sum, uint8x16_t x) { return vdotq_s32(sum, vreinterpretq_s8_u8(x), v); });
  }
  static I dot_nibbles(I acc, W w, const int8_t* quad) { return dot_signed(acc, w, quad); }
  static I dot_weights(I acc, W v, const uint8_t* p) { return dot_signed(acc, v, reinterpret_cast<const int8_t*>(p)); }
};

}  // namespace
}  // namespace q3e
