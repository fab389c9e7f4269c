#include "ukernels/kernel_tiers.h"
#include "ukernels/norm_simd.h"
#include "ukernels/simd_avx512.h"

namespace q3e {

void rmsnorm_avx512(const float* x, const float* weight, uint32_t n, float eps, float* out) {
  rmsnorm_simd<Avx512>(x, weight, n, eps, out);
}

void rmsnorm_quantize_avx512(const float* x, const float* weight, uint32_t n, float eps, uint32_t block, int8_t* quants,
                             float* scales, int32_t* sums) {
  rmsnorm_quantize_simd<Avx512>(x, weight, n, eps, block, quants, scales, sums);
}

void quantize_avx512(const float* x, uint32_t n, uint32_t block, int8_t* quants, float* scales, int32_t* sums) {
  quantize_simd<Avx512>(x, n, block, quants, scales, sums);
}

}  // namespace q3e
