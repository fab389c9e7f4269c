// Nothing but dot products on registers: the peak that GEMM kernels are held against. Not used by the engine.
#pragma once

#include <cstdint>

namespace q3e {
namespace {

// Returns the operations done, two for a multiply-add.
template <class S>
int64_t dot_chain_simd(int64_t rounds, int32_t* result) {
  constexpr int kChains = S::kTileTokens * S::kTilePanels;
  int8_t quad[4] = {1, 2, 3, 4};
  uint8_t bytes[64];
  for (int i = 0; i < 64; ++i) bytes[i] = static_cast<uint8_t>(i);
  typename S::W w = S::load_w(bytes);
  typename S::I acc[kChains], total = S::izero();
  // Unrolled, or GCC 12 keeps more than a few sums in memory.
#pragma GCC unroll 32
  for (int c = 0; c < kChains; ++c) acc[c] = S::iset1(c);
  for (int64_t i = 0; i < rounds; ++i)
#pragma GCC unroll 32
    for (int c = 0; c < kChains; ++c) acc[c] = S::dot_signed(acc[c], w, quad);
#pragma GCC unroll 32
  for (int c = 0; c < kChains; ++c) total = S::iadd(total, acc[c]);
  *result = S::ifold(total);
  return rounds * kChains * 16 * 4 * 2;
}

}  // namespace
}  // namespace q3e
