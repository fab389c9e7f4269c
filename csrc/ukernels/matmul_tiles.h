// The GEMM on the tiles of AMX, for a vocabulary of tiles (tiles.h) and int8 weights under one scale in 256.
//
// A C tile is 16 tokens by the 16 rows of a panel and takes a whole block of K: four products of 64. Four C tiles (32 tokens, two
// panels) share two A tiles, which are loaded from the activations where they lie, and two B tiles, which are quads of a panel
// unpacked to int8. While the tile unit works on a group of four, AVX-512 does the float step of the group before, from a
// buffer of its sums, and unpacks a share of the next block's weights.
#pragma once

#include "ukernels/matmul_simd.h"
#include "ukernels/simd_avx512.h"
#include "ukernels/tiles.h"

namespace q3e {
namespace {

// The tile product takes signed weights as they are, so they carry no bias.
struct TileWeights : Avx512 {
  static constexpr int32_t kSignedBias = 0;
  static W load_signed(const uint8_t* p) { return load_w(p); }
  static Group load_group(const uint8_t* sub_scales, const uint8_t* offsets, uint32_t groups, uint32_t g) {
    Group group = Avx512::load_group(sub_scales, offsets, groups, g);
    group.offset = _mm512_xor_si512(group.offset, _mm512_set1_epi8(-128));
    return group;
  }
};

inline constexpr uint32_t kTileDepth = 64;                         // k of a product
inline constexpr uint32_t kBlockTiles = kSuperBlock / kTileDepth;  // B tiles of a panel's block
inline constexpr size_t kTileSize = size_t{kTileRows} * kTileBytes, kPanelTiles = kBlockTiles * kTileSize;
inline constexpr uint32_t kPrefetchTokens = 32;                    // up to here the weights may come slower than they are used
inline constexpr size_t kResultStride = kGemmPanels * kPanelRows;  // floats
inline constexpr size_t kTileScratch = kGemmPanels * kPanelTiles;
static_assert(2 * kTileScratch <= kMatmulScratchBytes, "two blocks of K: one in use, one on its way");

// Unpacks one block of K of some panels into B tiles, a few runs of 32 columns at a time.
template <FormatKind kind>
class TileUnpacker {
 public:
  // b == blocks: nothing to do.
  TileUnpacker(const MatrixView& w, uint32_t first, uint32_t count, uint32_t b, bool prefetch, uint8_t* tiles)
      : w_(w), panel_(w.data + first * w.layout.bytes), tiles_(tiles), begin_(b * kSuperBlock), prefetch_(prefetch) {
    if (b == w.layout.blocks) return;
    runs_ = ((begin_ + kSuperBlock < w.columns ? begin_ + kSuperBlock : w.columns) - begin_) / kColumnUnit;
    left_ = runs_ * count;
  }
  uint32_t left() const { return left_; }
  [[gnu::noinline]] void run(uint32_t count) {
    for (; count > 0 && left_ > 0; --count, --left_) next();
  }

 private:
  void next() {
    const uint32_t k = begin_ + run_ * kColumnUnit;
    if (prefetch_) prefetch_ahead<TileWeights>(w_, panel_, k);
    uint8_t* quads = tiles_ + size_t{run_} * 8 * 64;
    for_each_quad<TileWeights>(Unpack<TileWeights, kind>(w_, panel_, k),
                               [&](uint32_t quad, TileWeights::W v)
                                   __attribute__((always_inline)) { TileWeights::store_w(quads + quad * 64, v); });
    if (++run_ < runs_) return;
    // A last tile that is half full: what its other half is multiplied with lies past the activations' columns.
    if (runs_ % 2)
      for (uint32_t quad = 8; quad < 16; ++quad) TileWeights::store_w(quads + quad * 64, _mm512_setzero_si512());
    run_ = 0;
    panel_ += w_.layout.bytes;
    tiles_ += kPanelTiles;
  }

  const MatrixView& w_;
  const uint8_t* panel_;
  uint8_t* tiles_;
  uint32_t begin_, run_ = 0, runs_ = 0, left_ = 0;
  bool prefetch_;
};

// Rows of one panel's results, from token to token.
struct ResultRows {
  float* at;
  size_t stride;
};

// The sums of one C tile and where they go.
struct TileSums {
  const int32_t* sums;       // [16][16]
  ResultRows before, after;  // of the first token; before: of the blocks before
  Avx512::F d;
  uint32_t block, token, skip, rows;  // of the rows from token on, [skip, rows) are wanted
};

template <FormatKind kind, bool first>
void finish_rows(const int32_t* sums, uint32_t rows, Avx512::F d, const float* scales, size_t blocks, ResultRows before,
                 ResultRows after) {
  static_assert(Unpack<TileWeights, kind>::kBias == 0, "or the sums of activations would be needed");
#pragma GCC unroll 4
  for (uint32_t j = 0; j < rows;
       ++j, sums += kPanelRows, scales += blocks, before.at += before.stride, after.at += after.stride) {
    const Avx512::F acc = first ? Avx512::zero() : Avx512::load(before.at);
    Avx512::store(after.at, finish_block<TileWeights, kind>(acc, Avx512::load_i(sums), d, Avx512::zero(), *scales, 0));
  }
}

// Not inline, as the unpacker's run: each is needed in all shapes of a group, which would keep too much alive in registers.
template <FormatKind kind>
[[gnu::noinline]] void finish_tile(const TileSums& s, const Activations& a, uint32_t blocks) {
  const auto finish = s.block == 0 ? finish_rows<kind, true> : finish_rows<kind, false>;
  const size_t token = s.token + s.skip;
  const auto skipped = [&](ResultRows r) { return ResultRows{r.at + s.skip * r.stride, r.stride}; };
  finish(s.sums + s.skip * kPanelRows, s.rows - s.skip, s.d, a.scales + token * blocks + s.block, blocks, skipped(s.before),
         skipped(s.after));
}

// C tiles 0 to 3 = NA A tiles (tokens) times NB B tiles (panels) over `depth` products; meanwhile(i) is called after each.
template <int NA, int NB, class Tiles, class Meanwhile>
void multiply_tiles(Tiles& tiles, const int8_t* a, size_t stride, const uint8_t* b, uint32_t depth, Meanwhile&& meanwhile) {
  tiles.template zero<0>();
  if constexpr (NB == 2) tiles.template zero<1>();
  if constexpr (NA == 2) tiles.template zero<2>();
  if constexpr (NA == 2 && NB == 2) tiles.template zero<3>();
  for (uint32_t i = 0; i < depth; ++i, a += kTileDepth, b += kTileSize) {
    tiles.template load<6>(b, kTileBytes);
    tiles.template load<4>(a, stride);
    tiles.template dot<0, 4, 6>();
    if constexpr (NB == 2) {
      tiles.template load<7>(b + kPanelTiles, kTileBytes);
      tiles.template dot<1, 4, 7>();
    }
    if constexpr (NA == 2) {
      tiles.template load<5>(a + kTileRows * stride, stride);
      tiles.template dot<2, 5, 6>();
      if constexpr (NB == 2) tiles.template dot<3, 5, 7>();
    }
    meanwhile(i);
  }
}

// Tokens that one group of C tiles takes, and how many of its first ones the group before has done.
struct TileGroup {
  uint32_t token, tiles, skip;
};

// The groups of a call's tokens: 32 at a time, the rest by a group that ends with the last token and overlaps the one before, so
// that tiles are always full. Below 32 tokens there is one group, and the config says how many rows it has.
static inline TileGroup tile_group(uint32_t tokens, uint32_t done) {
  const uint32_t left = tokens - done, tiles = left > kTileRows ? 2 : 1;
  if (tokens < 2 * kTileRows) return {0, tiles, 0};
  const uint32_t take = tiles * kTileRows, token = left < take ? tokens - take : done;
  return {token, tiles, done - token};
}

static inline TileConfig tile_config(uint32_t tokens) {
  const uint32_t first = tokens < kTileRows ? tokens : kTileRows;
  const uint32_t second = tokens < 2 * kTileRows ? tokens - first : kTileRows;
  TileConfig config;
  for (int tile : {0, 1, 4}) config.shape(tile, first);
  for (int tile : {2, 3, 5}) config.shape(tile, second);
  for (int tile : {6, 7}) config.shape(tile, kTileRows);
  return config;
}

// As gemm_strips in strips_simd.h.
template <FormatKind kind, class Tiles>
void gemm_tiles(const MatrixView& w, uint32_t first, uint32_t count, const Activations& a, float* out, size_t out_stride,
                uint8_t* scratch) {
  // One buffer is enough: the float step of the group before has read it when the tiles are stored.
  alignas(64) int32_t sums[4][kTileRows * kPanelRows];
  // Results lie together until the last block: rows of `out` are as far apart as a matrix has rows, often a power of two, and few
  // of them would stay in L1.
  alignas(64) float results[kGemmTokens * kGemmPanels * kPanelRows];
  TileSums pending[4];
  uint32_t waiting = 0;
  const bool prefetch = a.tokens <= kPrefetchTokens;
  const uint32_t blocks = w.layout.blocks, groups = (a.tokens + 2 * kTileRows - 1) / (2 * kTileRows) * ((count + 1) / 2);
  Tiles tiles;
  tiles.configure(tile_config(a.tokens));
  TileUnpacker<kind>(w, first, count, 0, prefetch, scratch).run(~0u);
  for (uint32_t b = 0; b < blocks; ++b) {
    const uint8_t* weights = scratch + b % 2 * kTileScratch;
    TileUnpacker<kind> next(w, first, count, b + 1, prefetch, scratch + (b + 1) % 2 * kTileScratch);
    const uint32_t begin = b * kSuperBlock, end = begin + kSuperBlock < w.columns ? begin + kSuperBlock : w.columns;
    const uint32_t depth = (end - begin + kTileDepth - 1) / kTileDepth,
                   share = (next.left() + groups * depth - 1) / (groups * depth);
    Avx512::F d[kGemmPanels];
    for (uint32_t p = 0; p < count; ++p)
      d[p] = Avx512::load_f16(w.data + (first + p) * w.layout.bytes + w.layout.scale + size_t{b} * 32);
    for (uint32_t done = 0; done < a.tokens;) {
      const TileGroup group = tile_group(a.tokens, done);
      for (uint32_t p = 0; p < count; p += 2) {
        const uint32_t np = count - p < 2 ? 1 : 2;
        const auto meanwhile = [&](uint32_t i) __attribute__((always_inline)) {
          if (i < waiting) finish_tile<kind>(pending[i], a, blocks);
          next.run(share);
        };
        with_count<2>(static_cast<int>(group.tiles), [&]<int NA>() {
          with_count<2>(static_cast<int>(np), [&]<int NB>() {
            multiply_tiles<NA, NB>(tiles, a.quants + size_t{group.token} * a.stride + begin, a.stride, weights + p * kPanelTiles,
                                   depth, meanwhile);
          });
        });
        for (uint32_t i = depth; i < waiting; ++i) finish_tile<kind>(pending[i], a, blocks);
        waiting = 0;
        const auto store = [&]<int tile>() __attribute__((always_inline)) {
          constexpr uint32_t kToken = tile / 2 * kTileRows, kPanel = tile % 2;
          if (tile / 2 >= static_cast<int>(group.tiles) || kPanel >= np) return;
          int32_t* to = sums[tile];
          tiles.template store<tile>(to, kPanelRows * 4);
          const uint32_t token = group.token + kToken, rows = a.tokens - token;
          const uint32_t skip = group.skip > kToken ? group.skip - kToken : 0;
          const size_t column = (p + kPanel) * kPanelRows;
          const ResultRows here{results + token * kResultStride + column, kResultStride};
          pending[waiting++] = {to,
                                here,
                                b + 1 < blocks ? here : ResultRows{out + token * out_stride + column, out_stride},
                                d[p + kPanel],
                                b,
                                token,
                                skip,
                                rows < kTileRows ? rows : kTileRows};
        };
        store.template operator()<0>();
        store.template operator()<1>();
        store.template operator()<2>();
        store.template operator()<3>();
      }
      done = group.token + group.tiles * kTileRows;
    }
    next.run(~0u);
  }
  tiles.release();
  for (uint32_t i = 0; i < waiting; ++i) finish_tile<kind>(pending[i], a, blocks);
}

// Fewer tokens stream their weights through the direct path of AVX-512, once and as fast as memory gives them.
template <class Tiles>
bool matmul_tiles(const MatrixView& w, uint32_t first, uint32_t last, const Activations& a, float* out, size_t out_stride,
                  uint8_t* scratch) {
  if (a.tokens < kFewestTileTokens || w.format->block != kSuperBlock) return false;
  with_kind(w.format->kind, [&]<FormatKind kind>() {
    if constexpr (has_blocks(kind, true)) gemm_tiles<kind, Tiles>(w, first, last - first, a, out, out_stride, scratch);
  });
  return true;
}

}  // namespace
}  // namespace q3e
