#include "ukernels/kernels.h"
#include "ukernels/math_scalar.h"

namespace q3e {

void silu_mul_scalar(const float* gate, const float* up, uint32_t n, float* out) {
  for (uint32_t i = 0; i < n; ++i) out[i] = silu_f32(gate[i]) * up[i];
}

void sigmoid_mul_scalar(const float* gate, uint32_t n, float* x) {
  for (uint32_t i = 0; i < n; ++i) x[i] *= sigmoid_f32(gate[i]);
}

void dot_gate_scalar(const float* a, const float* b, uint32_t n, float* x, uint32_t width) {
  const float gate = sigmoid_f32(dot_f32(a, b, n));
  for (uint32_t i = 0; i < width; ++i) x[i] *= gate;
}

void silu_panels_scalar(const float* gate_up, uint32_t n, float* out) {
  for (uint32_t i = 0; i < n; ++i) {
    const float gate = gate_up[i / 16 * 32 + i % 16], up = gate_up[i / 16 * 32 + 16 + i % 16];
    out[i] = silu_f32(gate) * up;
  }
}

}  // namespace q3e
