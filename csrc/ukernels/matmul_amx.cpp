#include "ukernels/kernel_tiers.h"
#include "ukernels/matmul_tiles.h"
#include "ukernels/tiles.h"

namespace q3e {
namespace {

// One token, panels side by side, each a stream of the machine's own prefetcher. Processors with AMX read so by a third faster
// than one stream that is asked for far ahead (docs/decisions/amx.md).
bool matmul_streams(const MatrixView& w, uint32_t first, uint32_t last, const Activations& a, float* out, size_t out_stride) {
  if (a.tokens != 1 || last - first != kGemmPanels || w.format->block == 0) return false;
  with_kind(w.format->kind, [&]<FormatKind kind>() {
    if constexpr (has_blocks(kind, true) || has_blocks(kind, false))
      direct_panels<Avx512, kind, 1, kGemmPanels, false>(w, w.data + first * w.layout.bytes, a, out, out_stride);
  });
  return true;
}

}  // namespace

void matmul_amx(const MatrixView& w, uint32_t first, uint32_t last, const Activations& a, float* out, size_t out_stride,
                uint8_t* scratch) {
  if (!matmul_streams(w, first, last, a, out, out_stride) &&
      !matmul_tiles<HardwareTiles>(w, first, last, a, out, out_stride, scratch))
    matmul_avx512(w, first, last, a, out, out_stride, scratch);
}

}  // namespace q3e
