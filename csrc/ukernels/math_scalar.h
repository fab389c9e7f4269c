// Scalar float32 functions with a fixed order of operations; the SIMD headers repeat them lane by lane.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace q3e {

// As the x86 instructions: the second operand when one is NaN.
static inline float max_f32(float a, float b) { return a > b ? a : b; }
static inline float min_f32(float a, float b) { return a < b ? a : b; }

static inline float fma_f32(float a, float b, float c) { return std::fma(a, b, c); }

// Round to nearest even for |x| < 2^22: adding 1.5 * 2^23 leaves no fraction bits.
static inline float round_f32(float x) { return (x + 12582912.0f) - 12582912.0f; }

// Cephes expf: within 2 ulp on [-87.3, 88]; arguments below and above are clamped.
static inline float exp_f32(float x) {
  x = min_f32(max_f32(x, -87.3f), 88.0f);
  const float n = round_f32(x * 1.44269504088896341f);
  float r = fma_f32(n, -0.693359375f, x);
  r = fma_f32(n, 2.12194440e-4f, r);
  float p = 1.9875691500e-4f;
  p = fma_f32(p, r, 1.3981999507e-3f);
  p = fma_f32(p, r, 8.3334519073e-3f);
  p = fma_f32(p, r, 4.1665795894e-2f);
  p = fma_f32(p, r, 1.6666665459e-1f);
  p = fma_f32(p, r, 5.0000001201e-1f);
  const float y = fma_f32(p, r * r, r) + 1.0f;
  return y * std::bit_cast<float>((static_cast<int32_t>(n) + 127) << 23);
}

// 2^x for x up to 100, within 2 ulp; below -80, where no sum would notice, 2^-80. A minimax polynomial on [-1/2, 1/2].
static inline float exp2_f32(float x) {
  x = max_f32(x, -80.0f);
  const float n = round_f32(x), r = x - n;
  float p = 1.326472731e-3f;
  p = fma_f32(p, r, 9.671512991e-3f);
  p = fma_f32(p, r, 5.550733581e-2f);
  p = fma_f32(p, r, 2.402224243e-1f);
  p = fma_f32(p, r, 6.931470037e-1f);
  p = fma_f32(p, r, 1.0f);
  return p * std::bit_cast<float>((static_cast<int32_t>(n) + 127) << 23);
}

// Sum of 16 lanes in the order that every tier uses.
static inline float fold_lanes(const float* lanes) {
  float v[16];
  for (int i = 0; i < 16; ++i) v[i] = lanes[i];
  for (int half = 8; half >= 1; half /= 2)
    for (int i = 0; i < half; ++i) v[i] += v[i + half];
  return v[0];
}

}  // namespace q3e
