// SwiGLU's elementwise half, for any tier's vocabulary S.
#pragma once

#include "ukernels/kernels.h"
#include "ukernels/math_simd.h"

namespace q3e {
namespace {

// silu(gate) * up, of 16 values.
template <class S>
typename S::F gated(const float* gate, const float* up) {
  return S::mul(silu_simd<S>(S::load(gate)), S::load(up));
}

template <class S>
void sigmoid_mul_simd(const float* gate, uint32_t n, float* x) {
  for (uint32_t i = 0; i < n; i += 16) S::store(x + i, S::mul(S::load(x + i), sigmoid_simd<S>(S::load(gate + i))));
}

template <class S>
void silu_mul_simd(const float* gate, const float* up, uint32_t n, float* out) {
  for (uint32_t i = 0; i < n; i += 16) S::store(out + i, gated<S>(gate + i, up + i));
}

template <class S>
void dot_gate_simd(const float* a, const float* b, uint32_t n, float* x, uint32_t width) {
  const typename S::F gate = sigmoid_simd<S>(S::set1(dot_simd<S>(a, b, n)));
  for (uint32_t i = 0; i < width; i += 16) S::store(x + i, S::mul(S::load(x + i), gate));
}

template <class S>
void silu_panels_simd(const float* gate_up, uint32_t n, float* out) {
  for (uint32_t i = 0; i < n; i += 16) S::store(out + i, gated<S>(gate_up + 2 * i, gate_up + 2 * i + 16));
}

}  // namespace
}  // namespace q3e
