// The gated delta rule: what tokens do to a head's state, and what it answers them.
#include "ukernels/kernels.h"
#include "ukernels/math_scalar.h"

namespace q3e {
namespace {

// One token, 16 columns. s: [key_size][16]
void step(const float* q, const float* k, float decay, float write, uint32_t key_size, float* s, float* v) {
  const float both = dot_f32(k, q, key_size);
  for (uint32_t c = 0; c < 16; ++c) {
    float known = 0, found = 0;
    for (uint32_t i = 0; i < key_size; ++i) {
      known = fma_f32(s[i * 16 + c], k[i], known);
      found = fma_f32(s[i * 16 + c], q[i], found);
    }
    const float change = fma_f32(-decay, known, v[c]) * write;
    v[c] = fma_f32(both, change, decay * found);
    for (uint32_t i = 0; i < key_size; ++i) s[i * 16 + c] = fma_f32(k[i], change, s[i * 16 + c] * decay);
  }
}

}  // namespace

void delta_gates_scalar(const float* rate, const float* bias, uint32_t n, float* decay, float* write) {
  for (uint32_t i = 0; i < n; ++i) {
    decay[i] = exp_f32(rate[i] * softplus_f32(decay[i] + bias[i]));
    write[i] = sigmoid_f32(write[i]);
  }
}

void delta_rule_scalar(const DeltaTask& t) {
  for (uint32_t c = 0; c < t.columns; c += 16)
    for (uint32_t token = 0; token < t.tokens; ++token)
      step(t.q + token * t.stride, t.k + token * t.stride, t.decay[token * t.gate_stride], t.write[token * t.gate_stride],
           t.key_size, t.state + size_t{c} * t.key_size, t.v + token * t.stride + c);
}

}  // namespace q3e
