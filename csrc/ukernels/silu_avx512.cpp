#include "ukernels/kernel_tiers.h"
#include "ukernels/silu_simd.h"
#include "ukernels/simd_avx512.h"

namespace q3e {

void silu_mul_avx512(const float* gate, const float* up, uint32_t n, float* out) { silu_mul_simd<Avx512>(gate, up, n, out); }

}  // namespace q3e
