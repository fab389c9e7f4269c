#include "ukernels/kernel_tiers.h"
#include "ukernels/matmul_simd.h"
#include "ukernels/simd_rvv.h"

namespace q3e {

void matmul_rvv(const MatrixView& w, uint32_t first, uint32_t last, const Activations& a, float* out, size_t out_stride,
                uint8_t* scratch) {
  matmul_simd<Rvv>(w, first, last, a, out, out_stride, scratch);
}

}  // namespace q3e
