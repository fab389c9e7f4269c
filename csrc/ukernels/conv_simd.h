// The causal convolution in front of a delta net, for any tier's vocabulary S.
#pragma once

#include "ukernels/kernels.h"
#include "ukernels/math_simd.h"

namespace q3e {
namespace {

template <class S>
void conv_silu_simd(const float* const* inputs, const float* taps, size_t stride, uint32_t n, float* out) {
  for (uint32_t i = 0; i < n; i += 16) {
    typename S::F sum = S::mul(S::load(inputs[0] + i), S::load(taps + i));
    for (uint32_t tap = 1; tap < kConvTaps; ++tap) sum = S::fma(S::load(inputs[tap] + i), S::load(taps + tap * stride + i), sum);
    S::store(out + i, silu_simd<S>(sum));
  }
}

}  // namespace
}  // namespace q3e
