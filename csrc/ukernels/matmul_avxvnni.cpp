#include "ukernels/kernel_tiers.h"
#include "ukernels/matmul_simd.h"
#include "ukernels/simd_avxvnni.h"

namespace q3e {

void matmul_avxvnni(const MatrixView& w, uint32_t first, uint32_t last, const Activations& a, float* out, size_t out_stride,
                    uint8_t* scratch) {
  with_kind(w.format->kind, [&]<FormatKind kind>() {
    // One token pays for s * q + z of every weight, and the sums of AVX2 need that only once a group.
    if (traits(kind).weight >= 16 || (kind == FormatKind::q4z && a.tokens <= 2))
      return matmul_avx2(w, first, last, a, out, out_stride, scratch);
    if constexpr (kind != FormatKind::vector && traits(kind).weight < 16)
      matmul_quantized<AvxVnni, kind>(w, first, last, a, out, out_stride, scratch);
  });
}

}  // namespace q3e
