#include "ukernels/kernel_tiers.h"
#include "ukernels/matmul_tiles.h"
#include "ukernels/tiles.h"

namespace q3e {

void matmul_amx(const MatrixView& w, uint32_t first, uint32_t last, const Activations& a, float* out, size_t out_stride,
                uint8_t* scratch) {
  if (!matmul_tiles<HardwareTiles>(w, first, last, a, out, out_stride, scratch))
    matmul_avx512(w, first, last, a, out, out_stride, scratch);
}

}  // namespace q3e
