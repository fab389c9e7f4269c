#include "probes/limits_simd.h"
#include "ukernels/simd_avx512.h"
#include "ukernels/tiles.h"

namespace q3e {
namespace {

// Four independent C tiles, as a GEMM has; operands stay in their tiles.
int64_t dot_chain(int64_t rounds, int32_t* result) {
  alignas(64) int8_t operand[kTileRows * kTileBytes];
  alignas(64) int32_t sums[kTileRows * kTileBytes / 4];
  for (uint32_t i = 0; i < sizeof operand; ++i) operand[i] = static_cast<int8_t>(i);
  TileConfig config;
  for (int tile = 0; tile < kTiles; ++tile) config.shape(tile, kTileRows);
  HardwareTiles tiles;
  tiles.configure(config);
  tiles.load<4>(operand, kTileBytes);
  tiles.load<5>(operand, kTileBytes);
  tiles.load<6>(operand, kTileBytes);
  tiles.load<7>(operand, kTileBytes);
  tiles.zero<0>();
  tiles.zero<1>();
  tiles.zero<2>();
  tiles.zero<3>();
  for (int64_t i = 0; i < rounds; ++i) {
    tiles.dot<0, 4, 6>();
    tiles.dot<1, 4, 7>();
    tiles.dot<2, 5, 6>();
    tiles.dot<3, 5, 7>();
  }
  *result = 0;
  const auto add = [&] { *result = static_cast<int32_t>(static_cast<uint32_t>(*result) + static_cast<uint32_t>(sums[0])); };
  tiles.store<0>(sums, kTileBytes);
  add();
  tiles.store<1>(sums, kTileBytes);
  add();
  tiles.store<2>(sums, kTileBytes);
  add();
  tiles.store<3>(sums, kTileBytes);
  add();
  tiles.release();
  return rounds * 4 * kTileRows * (kTileBytes / 4) * kTileBytes * 2;
}

}  // namespace

constinit const Limits limits_amx = {stream_simd<Avx512>, dot_chain};

}  // namespace q3e
