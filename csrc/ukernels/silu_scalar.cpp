#include "ukernels/kernels.h"
#include "ukernels/math_scalar.h"

namespace q3e {

void silu_mul_scalar(const float* gate, const float* up, uint32_t n, float* out) {
  for (uint32_t i = 0; i < n; ++i) out[i] = gate[i] / (1.0f + exp_f32(-gate[i])) * up[i];
}

void silu_panels_scalar(const float* gate_up, uint32_t n, float* out) {
  for (uint32_t i = 0; i < n; ++i) {
    const float gate = gate_up[i / 16 * 32 + i % 16], up = gate_up[i / 16 * 32 + 16 + i % 16];
    out[i] = gate / (1.0f + exp_f32(-gate)) * up;
  }
}

}  // namespace q3e
