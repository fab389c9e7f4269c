#include "ukernels/experts_simd.h"
#include "ukernels/kernel_tiers.h"
#include "ukernels/simd_neon.h"

namespace q3e {

void route_neon(const float* logits, uint32_t experts, uint32_t top, bool normalize, uint32_t* chosen, float* weights) {
  route_simd<Neon>(logits, experts, top, normalize, chosen, weights);
}
void add_weighted_neon(const float* const* rows, const float* weights, uint32_t count, uint32_t n, float* x) {
  add_weighted_simd<Neon>(rows, weights, count, n, x);
}
void silu_panels_neon(const float* gate_up, uint32_t n, float* out) { silu_panels_simd<Neon>(gate_up, n, out); }

}  // namespace q3e
