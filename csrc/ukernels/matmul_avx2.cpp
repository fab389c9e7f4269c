#include "ukernels/kernel_tiers.h"
#include "ukernels/matmul_simd.h"
#include "ukernels/nibbles_avx2.h"
#include "ukernels/simd_avx2.h"
#include "ukernels/six_bits_avx2.h"

namespace q3e {
namespace {

template <FormatKind kind>
void matmul_nibbles(const MatrixView& w, uint32_t first, uint32_t last, const Activations& a, float* out, size_t out_stride,
                    uint8_t* scratch) {
  if (a.tokens > Avx2::kDirectMost) return gemm_nibbles<kind>(w, first, last - first, a, out, out_stride, scratch);
  if constexpr (kind != FormatKind::q4z)
    matmul_direct<Avx2, kind>(w, first, last, a, out, out_stride);
  else if (direct_nibbles_fit(w, a.tokens))
    direct_q4z(w, first, last, a, out, out_stride, scratch);
  else
    matmul_scalar(w, first, last, a, out, out_stride, scratch);  // rows of more than 131,072 columns: no model has them
}

}  // namespace

void matmul_avx2(const MatrixView& w, uint32_t first, uint32_t last, const Activations& a, float* out, size_t out_stride,
                 uint8_t* scratch) {
  with_kind(w.format->kind, [&]<FormatKind kind>() {
    if constexpr (traits(kind).weight == 4) return matmul_nibbles<kind>(w, first, last, a, out, out_stride, scratch);
    if constexpr (kind == FormatKind::q6z)
      if (direct_six_bits_fit(w, a.tokens)) return direct_q6z(w, first, last, a, out, scratch);
    if constexpr (traits(kind).weight == 6 || traits(kind).weight == 8)
      matmul_quantized<Avx2, kind>(w, first, last, a, out, out_stride, scratch);
    if constexpr (traits(kind).weight >= 16) matmul_float<Avx2, kind>(w, first, last, a, out, out_stride);
  });
}

}  // namespace q3e
