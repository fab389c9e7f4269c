#include "ukernels/kernel_tiers.h"
#include "ukernels/matmul_simd.h"
#include "ukernels/nibbles_avx2.h"
#include "ukernels/simd_avx2.h"
#include "ukernels/six_bits_avx2.h"

namespace q3e {

void matmul_avx2(const MatrixView& w, uint32_t first, uint32_t last, const Activations& a, float* out, size_t out_stride,
                 uint8_t* scratch) {
  const FormatKind format = w.format->kind;
  if (a.tokens > Avx2::kDirectMost && traits(format).weight == 4)
    return with_kind(format, [&]<FormatKind kind>() {
      if constexpr (traits(kind).weight == 4) gemm_nibbles<kind>(w, first, last - first, a, out, out_stride, scratch);
    });
  if (format == FormatKind::q4z && direct_nibbles_fit(w, a.tokens))
    return direct_q4z(w, first, last, a, out, out_stride, scratch);
  if (format == FormatKind::q6z && direct_six_bits_fit(w, a.tokens)) return direct_q6z(w, first, last, a, out, scratch);
  matmul_simd<Avx2>(w, first, last, a, out, out_stride, scratch);
}

}  // namespace q3e
