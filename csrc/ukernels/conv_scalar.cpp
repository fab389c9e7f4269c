// The causal convolution in front of a delta net.
#include "ukernels/kernels.h"
#include "ukernels/math_scalar.h"

namespace q3e {

void conv_silu_scalar(const float* const* inputs, const float* taps, size_t stride, uint32_t n, float* out) {
  for (uint32_t i = 0; i < n; ++i) {
    float sum = inputs[0][i] * taps[i];
    for (uint32_t tap = 1; tap < kConvTaps; ++tap) sum = fma_f32(inputs[tap][i], taps[tap * stride + i], sum);
    out[i] = silu_f32(sum);
  }
}

}  // namespace q3e
