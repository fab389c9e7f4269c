// SwiGLU's elementwise half, for any tier's vocabulary S.
#pragma once

#include "ukernels/kernels.h"
#include "ukernels/math_simd.h"

namespace q3e {
namespace {

template <class S>
void silu_mul_simd(const float* gate, const float* up, uint32_t n, float* out) {
  const typename S::F one = S::set1(1.0f);
  for (uint32_t i = 0; i < n; i += 16) {
    const typename S::F g = S::load(gate + i);
    S::store(out + i, S::mul(S::div(g, S::add(one, exp_simd<S>(S::negate(g)))), S::load(up + i)));
  }
}

}  // namespace
}  // namespace q3e
