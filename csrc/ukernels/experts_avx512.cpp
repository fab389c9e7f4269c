#include "ukernels/experts_simd.h"
#include "ukernels/kernel_tiers.h"
#include "ukernels/simd_avx512.h"

namespace q3e {

void route_avx512(const float* logits, uint32_t experts, uint32_t top, bool normalize, uint32_t* chosen, float* weights) {
  route_simd<Avx512>(logits, experts, top, normalize, chosen, weights);
}
void add_weighted_avx512(const float* const* rows, const float* weights, uint32_t count, uint32_t n, float* x) {
  add_weighted_simd<Avx512>(rows, weights, count, n, x);
}
void silu_panels_avx512(const float* gate_up, uint32_t n, float* out) { silu_panels_simd<Avx512>(gate_up, n, out); }

}  // namespace q3e
