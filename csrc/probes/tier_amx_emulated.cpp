#include "probes/tier_amx_emulated.h"

#include "ukernels/attention_tiles.h"
#include "ukernels/matmul_tiles.h"
#include "ukernels/tier_simd.h"

namespace q3e {
namespace {

void matmul(const MatrixView& w, uint32_t first, uint32_t last, const Activations& a, float* out, size_t out_stride,
            uint8_t* scratch) {
  if (!matmul_tiles<EmulatedTiles>(w, first, last, a, out, out_stride, scratch))
    matmul_avx512(w, first, last, a, out, out_stride, scratch);
}

void attention(const AttentionTask& task) {
  if (!attention_tiles<EmulatedTiles>(task)) attention_avx512(task);
}

}  // namespace

constinit const KernelTable tier_amx_emulated = tier<Avx512>(Isa::amx, matmul, attention);

}  // namespace q3e
