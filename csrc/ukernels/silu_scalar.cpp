#include "ukernels/kernel_tiers.h"
#include "ukernels/math_scalar.h"

namespace q3e {

void silu_mul_scalar(const float* gate, const float* up, uint32_t n, float* out) {
  for (uint32_t i = 0; i < n; ++i) out[i] = gate[i] / (1.0f + exp_f32(-gate[i])) * up[i];
}

}  // namespace q3e
