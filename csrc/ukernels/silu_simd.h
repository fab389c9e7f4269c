// SwiGLU's elementwise half, for any tier's vocabulary S.
#pragma once

#include "ukernels/kernels.h"
#include "ukernels/math_simd.h"

namespace q3e {
namespace {

// silu(gate) * up, of 16 values.
template <class S>
typename S::F gated(const float* gate, const float* up) {
  const typename S::F g = S::load(gate);
  return S::mul(S::div(g, S::add(S::set1(1.0f), exp_simd<S>(S::negate(g)))), S::load(up));
}

template <class S>
void silu_mul_simd(const float* gate, const float* up, uint32_t n, float* out) {
  for (uint32_t i = 0; i < n; i += 16) S::store(out + i, gated<S>(gate + i, up + i));
}

template <class S>
void silu_panels_simd(const float* gate_up, uint32_t n, float* out) {
  for (uint32_t i = 0; i < n; i += 16) S::store(out + i, gated<S>(gate_up + 2 * i, gate_up + 2 * i + 16));
}

}  // namespace
}  // namespace q3e
