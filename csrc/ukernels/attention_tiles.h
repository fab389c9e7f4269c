// Attention on the tiles of AMX, for a vocabulary of tiles (tiles.h) and an int8 cache. Rows are tokens times the query heads of
// a KV head, sixteen to a strip, gathered once a call so that a strip is an A tile as it lies.
//
// A panel of keys is B tiles as it lies (16 positions by 64 k), and so are values (64 positions by 16 dimensions, a quad of
// positions a row). Scores of a strip are four C tiles; weights of 14 bits are two A tiles, their high and their low seven bits,
// and each takes one product with a tile of values, because a block is as deep as a tile. Every sum is an exact integer, softmax
// and float steps are those of attention_simd.h.
#pragma once

#include <cstring>

#include "ukernels/attention_rows.h"
#include "ukernels/attention_softmax.h"
#include "ukernels/simd_avx512.h"
#include "ukernels/tiles.h"

namespace q3e {
namespace {

static_assert(kTileRows == kLaneRows && kTileBytes == kKvBlock, "a strip is a tile's rows, a block its depth");

// A strip's scores wait here while the strip before it becomes weights, and is weighed.
struct TileStrip {
  CacheBlock block;
  uint32_t first, count;  // rows of the block's head
  const int32_t (*sums)[kKvBlock];
};

template <class Tiles>
class TileAttention {
 public:
  TileAttention(const AttentionTask& a, AttentionState& state)
      : a_(a), layout_(kv_block_layout(a.type, a.head_dim)), state_(state) {
    depth_ = (a.head_dim + kTileBytes - 1) / kTileBytes * kTileBytes;
    gather_queries();
    // A call with fewer rows than a tile's has fewer in its tiles; else the rows behind the last one do not count.
    const uint32_t rows = a.tokens * a.group < kTileRows ? a.tokens * a.group : kTileRows;
    TileConfig config;
    for (int tile : {0, 1, 2, 3, 4, 5}) config.shape(tile, rows);
    for (int tile : {6, 7}) config.shape(tile, kTileRows);
    std::memset(strip_.weights, 0, sizeof strip_.weights);
    tiles_.configure(config);
  }

  void run() {
    TileStrip waiting{};
    uint32_t turn = 0;
    for_each_block(a_, layout_, [&](const CacheBlock& block) {
      const uint32_t end = a_.tokens * a_.group;
      for (uint32_t first = block.begin; first < end; first += kTileRows, turn ^= 1) {
        const TileStrip strip{block, first, end - first < kTileRows ? end - first : kTileRows, sums_[turn]};
        score(strip, sums_[turn]);
        if (waiting.count) weigh(waiting);
        waiting = strip;
      }
    });
    weigh(waiting);
    tiles_.release();
  }

 private:
  // Columns beyond head_dim are zero, and rows beyond the last.
  void gather_queries() {
    const uint32_t rows = a_.heads * a_.tokens * a_.group;
    std::memset(queries_, 0, size_t{rows + kTileRows} * depth_);
    for (uint32_t i = 0; i < rows; ++i)
      std::memcpy(queries_ + size_t{i} * depth_, static_cast<const int8_t*>(a_.q) + size_t{state_.indices[i]} * a_.head_dim,
                  a_.head_dim);
  }
  uint32_t row(const TileStrip& s) const { return AttentionRows{a_, s.block.head}.state(s.first); }

  static void fetch(const uint8_t* begin, size_t bytes) {
    for (size_t at = 0; at < bytes; at += 64) Avx512::prefetch(begin + at);
  }

  // sums[row][position] = q . k. A head_dim that ends in half a tile meets zeros in q; what lies behind a panel is the next one,
  // behind the last the block's scales. Positions that are not there yet are masked afterwards.
  void score(const TileStrip& s, int32_t (*sums)[kKvBlock]) {
    const int8_t* q = queries_ + size_t{row(s)} * depth_;
    const uint8_t* keys = s.block.data + layout_.keys;
    const size_t panel = size_t{kPanelRows} * a_.head_dim;
    tiles_.template zero<0>();
    tiles_.template zero<1>();
    tiles_.template zero<2>();
    tiles_.template zero<3>();
    for (uint32_t k = 0; k < depth_; k += kTileBytes, keys += kTileRows * kTileBytes) {
      tiles_.template load<4>(q + k, depth_);
      tiles_.template load<6>(keys, kTileBytes);
      tiles_.template dot<0, 4, 6>();
      tiles_.template load<7>(keys + panel, kTileBytes);
      tiles_.template dot<1, 4, 7>();
      tiles_.template load<6>(keys + 2 * panel, kTileBytes);
      tiles_.template dot<2, 4, 6>();
      tiles_.template load<7>(keys + 3 * panel, kTileBytes);
      tiles_.template dot<3, 4, 7>();
    }
    // While this strip's products run, the block's values are asked for.
    if (s.first == s.block.begin) fetch(s.block.data + layout_.values, layout_.bytes - layout_.values);
    constexpr size_t kStride = kKvBlock * sizeof(int32_t);
    tiles_.template store<0>(sums[0], kStride);
    tiles_.template store<1>(sums[0] + kPanelRows, kStride);
    tiles_.template store<2>(sums[0] + 2 * kPanelRows, kStride);
    tiles_.template store<3>(sums[0] + 3 * kPanelRows, kStride);
  }

  void weigh(const TileStrip& s) {
    const uint32_t at = row(s);
    const float* key_scales = reinterpret_cast<const float*>(s.block.data + layout_.key_scales);
    for (uint32_t i = 0; i < s.count; ++i)
      for (uint32_t j = 0; j < kKvBlock; j += kPanelRows)
        Avx512::store(strip_.scores[i] + j,
                      Avx512::mul(Avx512::to_float(Avx512::load_i(s.sums[i] + j)), Avx512::load(key_scales + j)));
    softmax_strip<Avx512, KvType::int8>(at, s.count, s.block.start,
                                        reinterpret_cast<const float*>(s.block.data + layout_.value_scales), state_, strip_);
    if (s.first == s.block.begin) fetch(s.block.ahead, layout_.values);  // keys and their scales
    tiles_.template load<4>(strip_.weights[0], 2 * kKvBlock);
    tiles_.template load<5>(strip_.weights[0] + kKvBlock, 2 * kKvBlock);
    const uint8_t* values = s.block.data + layout_.values;
    const size_t quad = size_t{a_.head_dim} * 4;
    for (uint32_t d = 0; d < a_.head_dim; d += 2 * kPanelRows) {
      tiles_.template zero<0>();
      tiles_.template zero<1>();
      tiles_.template zero<2>();
      tiles_.template zero<3>();
      tiles_.template load<6>(values + size_t{d} * 4, quad);
      tiles_.template dot<0, 4, 6>();
      tiles_.template dot<1, 5, 6>();
      tiles_.template load<7>(values + size_t{d} * 4 + kTileBytes, quad);
      tiles_.template dot<2, 4, 7>();
      tiles_.template dot<3, 5, 7>();
      if (d > 0) add_products(s, at, d - 2 * kPanelRows);  // those before, while these are on their way
      tiles_.template store<0>(products_[0], kTileBytes);
      tiles_.template store<1>(products_[1], kTileBytes);
      tiles_.template store<2>(products_[2], kTileBytes);
      tiles_.template store<3>(products_[3], kTileBytes);
    }
    add_products(s, at, a_.head_dim - 2 * kPanelRows);
  }

  // Dimensions [d, d + 32) of a strip's rows.
  void add_products(const TileStrip& s, uint32_t at, uint32_t d) {
    for (uint32_t i = 0; i < s.count; ++i) {
      float* o = a_.out + size_t{state_.indices[at + i]} * a_.head_dim + d;
      for (uint32_t j = 0; j < 2; ++j) {
        const Avx512::I sum = Avx512::join_weights(Avx512::load_i(products_[2 * j][i]), Avx512::load_i(products_[2 * j + 1][i]));
        add_block<Avx512>(o + j * kPanelRows, sum, strip_.weight_scales[i], strip_.corrections[i]);
      }
    }
  }

  const AttentionTask& a_;
  const KvBlockLayout layout_;
  AttentionState& state_;
  Tiles tiles_;
  uint32_t depth_;  // bytes of a query row: head_dim, rounded up to 64
  alignas(64) int8_t queries_[(kMaxGroup + kTileRows) * kMaxHeadDim];
  alignas(64) int32_t sums_[2][kTileRows][kKvBlock];
  alignas(64) int32_t products_[4][kTileRows][kPanelRows];  // high and low of 16 dimensions, then of the next 16
  AttentionStrip<kTileRows> strip_;
};

template <class Tiles>
bool attention_tiles(const AttentionTask& a) {
  if (a.type != KvType::int8 || a.tokens * a.group < kFewestTileRows) return false;
  AttentionState& state = *reinterpret_cast<AttentionState*>(a.scratch);
  begin_rows<Avx512, true>(a, state);
  TileAttention<Tiles>(a, state).run();
  finish_rows<Avx512>(a, state);
  return true;
}

}  // namespace
}  // namespace q3e
