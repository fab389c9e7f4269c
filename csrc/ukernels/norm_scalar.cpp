// RMSNorm and the rounding of activations to int8: one token at a time.
#include "ukernels/kernels.h"
#include "ukernels/math_scalar.h"

namespace q3e {
namespace {

// 1 / sqrt(mean(x^2) + eps); n is a multiple of 16.
float inverse_rms(const float* x, uint32_t n, float eps) {
  return 1.0f / std::sqrt(dot_f32(x, x, n) / static_cast<float>(n) + eps);
}

void quantize_block(const float* x, uint32_t n, int8_t* quants, float* scale, int32_t* sum) {
  float amax = 0;
  for (uint32_t i = 0; i < n; ++i) amax = max_f32(std::fabs(x[i]), amax);
  const float inverse = amax > 0 ? 127.0f / amax : 0.0f;
  int32_t total = 0;
  for (uint32_t i = 0; i < n; ++i) {
    const float v = min_f32(max_f32(x[i] * inverse, -127.0f), 127.0f);
    quants[i] = static_cast<int8_t>(round_f32(v));
    total += quants[i];
  }
  *scale = amax / 127.0f;
  *sum = total;
}

}  // namespace

void rmsnorm_scalar(const float* x, const float* weight, uint32_t n, float eps, float* out) {
  const float r = inverse_rms(x, n, eps);
  for (uint32_t i = 0; i < n; ++i) out[i] = (x[i] * r) * weight[i];
}

void gated_norm_scalar(const float* x, const float* weight, const float* gate, uint32_t n, float eps, float* out) {
  const float r = inverse_rms(x, n, eps);
  for (uint32_t i = 0; i < n; ++i) out[i] = ((x[i] * r) * weight[i]) * silu_f32(gate[i]);
}

void unit_scalar(float* x, float scale, uint32_t n) {
  const float r = scale / std::sqrt(dot_f32(x, x, n) + kUnitEpsilon);
  for (uint32_t i = 0; i < n; ++i) x[i] *= r;
}

void rmsnorm_quantize_scalar(const float* x, const float* weight, uint32_t n, float eps, uint32_t block, int8_t* quants,
                             float* scales, int32_t* sums) {
  const float r = inverse_rms(x, n, eps);
  float y[kSuperBlock];
  for (uint32_t k = 0, b = 0; k < n; k += block, ++b) {
    const uint32_t m = k + block < n ? block : n - k;
    for (uint32_t i = 0; i < m; ++i) y[i] = (x[k + i] * r) * weight[k + i];
    quantize_block(y, m, quants + k, scales + b, sums + b);
  }
}

void quantize_scalar(const float* x, uint32_t n, uint32_t block, int8_t* quants, float* scales, int32_t* sums) {
  for (uint32_t k = 0, b = 0; k < n; k += block, ++b)
    quantize_block(x + k, k + block < n ? block : n - k, quants + k, scales + b, sums + b);
}

}  // namespace q3e
