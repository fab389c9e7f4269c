#include "ukernels/kernel_tiers.h"
#include "ukernels/matmul_simd.h"
#include "ukernels/nibbles_avx2.h"
#include "ukernels/simd_avx2.h"
#include "ukernels/six_bits_avx2.h"

namespace q3e {

void matmul_avx2(const MatrixView& w, uint32_t first, uint32_t last, const Activations& a, float* out, size_t out_stride,
                 uint8_t* scratch) {
  if (a.tokens > Avx2::kDirectMost) {
    if (w.format->kind == FormatKind::q4z)
      return gemm_nibbles<FormatKind::q4z>(w, first, last - first, a, out, out_stride, scratch);
    if (w.format->kind == FormatKind::q4g)
      return gemm_nibbles<FormatKind::q4g>(w, first, last - first, a, out, out_stride, scratch);
    if (w.format->kind == FormatKind::q4a)
      return gemm_nibbles<FormatKind::q4a>(w, first, last - first, a, out, out_stride, scratch);
  }
  if (w.format->kind == FormatKind::q4z && direct_nibbles_fit(w, a.tokens))
    return direct_q4z(w, first, last, a, out, out_stride, scratch);
  matmul_simd<Avx2>(w, first, last, a, out, out_stride, scratch);
}

}  // namespace q3e
