// The tiles of AMX: eight registers of up to 16 rows of 64 bytes. Two vocabularies: HardwareTiles are the instructions, and
// EmulatedTiles do in plain C++ what the instructions do, so that the kernels built on them are tested on machines without AMX.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace q3e {
namespace {

inline constexpr int kTiles = 8;
inline constexpr uint32_t kTileRows = 16, kTileBytes = 64;  // of a row

// From here on tiles take over from AVX-512: tokens of a matmul, and rows (tokens times query heads of a KV head) of attention.
// Measured for the matmul (docs/decisions/amx.md).
inline constexpr uint32_t kFewestTileTokens = 9, kFewestTileRows = 9;

// What ldtilecfg reads. A tile that is not used has neither rows nor bytes.
struct TileConfig {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};

  void shape(int tile, uint32_t tile_rows) {
    rows[tile] = static_cast<uint8_t>(tile_rows);
    row_bytes[tile] = tile_rows ? kTileBytes : 0;
  }
};
static_assert(sizeof(TileConfig) == 64);

// Our own asm, not intrinsics: those of GCC 12 declare neither what they read nor what they write, and the stores that fill a
// config or a tile's rows could be dropped or moved behind them. No compiler keeps anything in tile registers.
struct HardwareTiles {
  void configure(const TileConfig& c) { __asm__ volatile("ldtilecfg %0" : : "m"(c) : "memory"); }
  void release() { __asm__ volatile("tilerelease" : : : "memory"); }
  template <int tile>
  void zero() {
    __asm__ volatile("tilezero %%tmm%c0" : : "i"(tile));
  }
  template <int tile>
  void load(const void* rows, size_t stride) {
    __asm__ volatile("tileloadd (%1,%2,1), %%tmm%c0" : : "i"(tile), "r"(rows), "r"(stride) : "memory");
  }
  template <int tile>
  void store(void* rows, size_t stride) {
    __asm__ volatile("tilestored %%tmm%c0, (%1,%2,1)" : : "i"(tile), "r"(rows), "r"(stride) : "memory");
  }
  // c[m][n] += sum over 4 k a[m][4 k ..] * b[k][4 n ..]: int8 [M][K] times int8 [K / 4][N][4] into int32 [M][N].
  template <int c, int a, int b>
  void dot() {
    __asm__ volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(c), "i"(a), "i"(b));
  }
};

// Traps where the instructions fault, and on reading a tile before anything was put there, which they do not notice.
class EmulatedTiles {
 public:
  void configure(const TileConfig& c) {
    require(c.palette == 1 && c.start_row == 0);
    for (uint8_t byte : c.reserved) require(byte == 0);
    for (int i = 0; i < 16; ++i) {
      require(c.rows[i] <= kTileRows && c.row_bytes[i] <= kTileBytes && (c.rows[i] == 0) == (c.row_bytes[i] == 0));
      require(i < kTiles || c.rows[i] == 0);
    }
    config_ = c;
    configured_ = true;
    for (bool& w : written_) w = false;
  }
  void release() { configured_ = false; }
  template <int tile>
  void zero() {
    use(tile);
    std::memset(data_[tile], 0, sizeof data_[tile]);
    written_[tile] = true;
  }
  template <int tile>
  void load(const void* rows, size_t stride) {
    zero<tile>();
    for (uint32_t r = 0; r < config_.rows[tile]; ++r)
      std::memcpy(data_[tile][r], static_cast<const uint8_t*>(rows) + r * stride, config_.row_bytes[tile]);
  }
  template <int tile>
  void store(void* rows, size_t stride) {
    use(tile);
    require(written_[tile]);
    for (uint32_t r = 0; r < config_.rows[tile]; ++r)
      std::memcpy(static_cast<uint8_t*>(rows) + r * stride, data_[tile][r], config_.row_bytes[tile]);
  }
  template <int c, int a, int b>
  void dot() {
    use(c), use(a), use(b);
    require(written_[c] && written_[a] && written_[b]);
    require(c != a && c != b && a != b && config_.rows[c] == config_.rows[a] && config_.row_bytes[c] == config_.row_bytes[b] &&
            config_.row_bytes[a] == 4 * config_.rows[b]);
    const uint32_t quads = config_.rows[b], columns = config_.row_bytes[c] / 4u;
    for (uint32_t m = 0; m < config_.rows[c]; ++m) {
      int32_t sums[kTileBytes / 4];
      std::memcpy(sums, data_[c][m], sizeof sums);
      for (uint32_t k = 0; k < quads; ++k)
        for (uint32_t n = 0; n < columns; ++n)
          for (uint32_t i = 0; i < 4; ++i)
            sums[n] += static_cast<int8_t>(data_[a][m][4 * k + i]) * static_cast<int8_t>(data_[b][k][4 * n + i]);
      std::memcpy(data_[c][m], sums, sizeof sums);
    }
  }

 private:
  static void require(bool ok) {
    if (!ok) __builtin_trap();
  }
  void use(int tile) const { require(configured_ && config_.rows[tile] > 0); }

  TileConfig config_;
  bool configured_ = false, written_[kTiles] = {};
  uint8_t data_[kTiles][kTileRows][kTileBytes] = {};
};

}  // namespace
}  // namespace q3e
