#include "ukernels/kernel_tiers.h"
#include "ukernels/silu_simd.h"
#include "ukernels/simd_neon.h"

namespace q3e {

void silu_mul_neon(const float* gate, const float* up, uint32_t n, float* out) { silu_mul_simd<Neon>(gate, up, n, out); }

}  // namespace q3e
