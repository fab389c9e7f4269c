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

static inline float sigmoid_f32(float x) { return 1.0f / (1.0f + exp_f32(-x)); }
static inline float silu_f32(float x) { return x / (1.0f + exp_f32(-x)); }

// log(1 + e^x) = max(x, 0) + log(1 + y) with y = e^-|x|, in 0..1; log(1 + y) = 2 artanh(y / (2 + y)), whose argument is 1/3 at
// most: the series up to its 15th power, within 2 ulp.
static inline float softplus_f32(float x) {
  const float y = exp_f32(-std::fabs(x)), s = y / (y + 2.0f), z = s * s;
  float p = 1.0f / 15;
  p = fma_f32(p, z, 1.0f / 13);
  p = fma_f32(p, z, 1.0f / 11);
  p = fma_f32(p, z, 1.0f / 9);
  p = fma_f32(p, z, 1.0f / 7);
  p = fma_f32(p, z, 1.0f / 5);
  p = fma_f32(p, z, 1.0f / 3);
  p = fma_f32(p, z, 1.0f);
  return fma_f32(p, 2.0f * s, max_f32(x, 0.0f));
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

// Of a multiple of 16 values.
static inline float dot_f32(const float* a, const float* b, uint32_t n) {
  float lanes[16] = {};
  for (uint32_t i = 0; i < n; i += 16)
    for (uint32_t j = 0; j < 16; ++j) lanes[j] = fma_f32(a[i + j], b[i + j], lanes[j]);
  return fold_lanes(lanes);
}

}  // namespace q3e
