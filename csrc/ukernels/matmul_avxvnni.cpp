#include "ukernels/kernel_tiers.h"
#include "ukernels/matmul_simd.h"
#include "ukernels/nibbles_avx2.h"
#include "ukernels/simd_avxvnni.h"

namespace q3e {

void matmul_avxvnni(const MatrixView& w, uint32_t first, uint32_t last, const Activations& a, float* out, size_t out_stride,
                    uint8_t* scratch) {
  // One token pays for s * q + z of every weight, and the sums of AVX2 need that only once a group.
  if (w.format->kind == FormatKind::q4z && a.tokens <= 2 && direct_nibbles_fit(w, a.tokens))
    return direct_q4z(w, first, last, a, out, out_stride, scratch);
  matmul_simd<AvxVnni>(w, first, last, a, out, out_stride, scratch);
}

}  // namespace q3e
