// The limits of a tier, for its vocabulary S of registers.
#pragma once

#include "probes/limits.h"

namespace q3e {
namespace {

template <class S>
int32_t stream_simd(const uint8_t* data, size_t bytes, size_t ahead) {
  typename S::I sums[4] = {S::izero(), S::izero(), S::izero(), S::izero()};
  for (size_t i = 0; i < bytes; i += 256)
    for (size_t j = 0; j < 4; ++j) {
      if (ahead) S::prefetch(data + i + j * 64 + ahead);
      sums[j] = S::iadd(sums[j], S::load_i(reinterpret_cast<const int32_t*>(data + i + j * 64)));
    }
  return S::ifold(S::iadd(S::iadd(sums[0], sums[1]), S::iadd(sums[2], sums[3])));
}

template <class S>
int64_t dot_chain_simd(int64_t rounds, int32_t* result) {
  constexpr int kChains = S::kTileTokens * S::kTilePanels;
  int8_t quad[4] = {1, 2, 3, 4};
  alignas(64) uint8_t bytes[64];
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
