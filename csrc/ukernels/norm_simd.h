// RMSNorm and the rounding of activations to int8, for any tier's vocabulary S.
#pragma once

#include <cmath>

#include "ukernels/kernels.h"
#include "ukernels/math_simd.h"

namespace q3e {
namespace {

template <class S>
float inverse_rms_simd(const float* x, uint32_t n, float eps) {
  return 1.0f / __builtin_sqrtf(dot_simd<S>(x, x, n) / static_cast<float>(n) + eps);
}

template <class S>
void rmsnorm_simd(const float* x, const float* weight, uint32_t n, float eps, float* out) {
  const typename S::F r = S::set1(inverse_rms_simd<S>(x, n, eps));
  for (uint32_t i = 0; i < n; i += 16) S::store(out + i, S::mul(S::mul(S::load(x + i), r), S::load(weight + i)));
}

template <class S>
void gated_norm_simd(const float* x, const float* weight, const float* gate, uint32_t n, float eps, float* out) {
  const typename S::F r = S::set1(inverse_rms_simd<S>(x, n, eps));
  for (uint32_t i = 0; i < n; i += 16)
    S::store(out + i, S::mul(S::mul(S::mul(S::load(x + i), r), S::load(weight + i)), silu_simd<S>(S::load(gate + i))));
}

template <class S>
void unit_simd(float* x, float scale, uint32_t n) {
  const typename S::F r = S::set1(scale / __builtin_sqrtf(dot_simd<S>(x, x, n) + kUnitEpsilon));
  for (uint32_t i = 0; i < n; i += 16) S::store(x + i, S::mul(S::load(x + i), r));
}

template <class S>
void quantize_block_simd(const float* x, uint32_t n, int8_t* quants, float* scale, int32_t* sum) {
  typename S::F top = S::zero();
  for (uint32_t i = 0; i < n; i += 16) top = S::max(S::abs(S::load(x + i)), top);
  const float amax = S::fold_max(top);
  const typename S::F inverse = S::set1(amax > 0 ? 127.0f / amax : 0.0f), low = S::set1(-127.0f), high = S::set1(127.0f);
  typename S::I total = S::izero();
  for (uint32_t i = 0; i < n; i += 16) {
    const typename S::I q = S::to_int(S::min(S::max(S::mul(S::load(x + i), inverse), low), high));
    S::store_s8(quants + i, q);
    total = S::iadd(total, q);
  }
  *scale = amax / 127.0f;
  *sum = S::ifold(total);
}

template <class S>
void quantize_simd(const float* x, uint32_t n, uint32_t block, int8_t* quants, float* scales, int32_t* sums) {
  for (uint32_t k = 0, b = 0; k < n; k += block, ++b)
    quantize_block_simd<S>(x + k, k + block < n ? block : n - k, quants + k, scales + b, sums + b);
}

template <class S>
void rmsnorm_quantize_simd(const float* x, const float* weight, uint32_t n, float eps, uint32_t block, int8_t* quants,
                           float* scales, int32_t* sums) {
  const typename S::F r = S::set1(inverse_rms_simd<S>(x, n, eps));
  float y[kSuperBlock];
  for (uint32_t k = 0, b = 0; k < n; k += block, ++b) {
    const uint32_t m = k + block < n ? block : n - k;
    for (uint32_t i = 0; i < m; i += 16) S::store(y + i, S::mul(S::mul(S::load(x + k + i), r), S::load(weight + k + i)));
    quantize_block_simd<S>(y, m, quants + k, scales + b, sums + b);
  }
}

}  // namespace
}  // namespace q3e
