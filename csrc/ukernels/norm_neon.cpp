#include "ukernels/kernel_tiers.h"
#include "ukernels/norm_simd.h"
#include "ukernels/simd_neon.h"

namespace q3e {

void rmsnorm_neon(const float* x, const float* weight, uint32_t n, float eps, float* out) {
  rmsnorm_simd<Neon>(x, weight, n, eps, out);
}

void rmsnorm_quantize_neon(const float* x, const float* weight, uint32_t n, float eps, uint32_t block, int8_t* quants,
                           float* scales, int32_t* sums) {
  rmsnorm_quantize_simd<Neon>(x, weight, n, eps, block, quants, scales, sums);
}

void quantize_neon(const float* x, uint32_t n, uint32_t block, int8_t* quants, float* scales, int32_t* sums) {
  quantize_simd<Neon>(x, n, block, quants, scales, sums);
}

}  // namespace q3e
