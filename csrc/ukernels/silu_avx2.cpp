#include "ukernels/kernel_tiers.h"
#include "ukernels/silu_simd.h"
#include "ukernels/simd_avx2.h"

namespace q3e {

void silu_mul_avx2(const float* gate, const float* up, uint32_t n, float* out) { silu_mul_simd<Avx2>(gate, up, n, out); }

}  // namespace q3e
