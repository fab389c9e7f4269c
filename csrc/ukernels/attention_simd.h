// Attention of the query heads that share a KV head, for any tier's vocabulary S. Keys are panels of 16 tokens, so scores are
// a matmul with tokens as lanes; values are quads of tokens (int8) or rows, so the weighted sum has dimensions as lanes.
#pragma once

#include "ukernels/attention_codes.h"
#include "ukernels/attention_rows.h"
#include "ukernels/attention_softmax.h"
#include "ukernels/matmul_simd.h"

namespace q3e {
namespace {

struct AttentionScratch {
  AttentionState state;
  AttentionStrip<kStripRows> strip;
  RoundedQueries rounded;
};
static_assert(sizeof(AttentionScratch) <= kAttentionScratchBytes);

template <class S, KvType type>
typename S::F load_kv(const uint8_t* p) {
  static_assert(!is_integer(type));
  if constexpr (type == KvType::bf16) return S::load_bf16(p);
  return S::load(reinterpret_cast<const float*>(p));
}

// scores[row][NP panels of 16] against keys that are not packed, for NR rows, without the queries' scales.
template <class S, KvType type, int NR, int NP>
void score_panels(const AttentionTask& a, const uint8_t* keys, const float* key_scales, const uint32_t* indices,
                  const int32_t* q_sums, const Prefetch& prefetch, float* scores) {
  static_assert(!packs_keys(type));
  const uint32_t d = a.head_dim;
  const size_t panel = kv_bytes(type, size_t{kPanelRows} * d);
  if constexpr (is_integer(type)) {
    const int8_t* q[NR];
    typename S::I acc[NR][NP];
    for (int i = 0; i < NR; ++i) {
      q[i] = static_cast<const int8_t*>(a.q) + size_t{indices[i]} * d;
      for (int p = 0; p < NP; ++p) acc[i][p] = S::iset1(-S::kSignedBias * q_sums[i]);
    }
    for (uint32_t k = 0; k < d; k += 4) {
      typename S::W w[NP];
      for (int p = 0; p < NP; ++p) {
        w[p] = S::load_signed(keys + p * panel + size_t{k} * 16);
        prefetch.at<S>((size_t{k} / 4 * NP + p) * 64);
      }
      for (int i = 0; i < NR; ++i)
        for (int p = 0; p < NP; ++p) acc[i][p] = S::dot_signed(acc[i][p], w[p], q[i] + k);
    }
    for (int i = 0; i < NR; ++i)
      for (int p = 0; p < NP; ++p)
        S::store(scores + size_t(i) * kKvBlock + p * kPanelRows,
                 S::mul(S::to_float(acc[i][p]), S::load(key_scales + p * kPanelRows)));
  } else {
    const float* q[NR];
    typename S::F acc[NR][NP];
    for (int i = 0; i < NR; ++i) {
      q[i] = static_cast<const float*>(a.q) + size_t{indices[i]} * d;
      for (int p = 0; p < NP; ++p) acc[i][p] = S::zero();
    }
    for (uint32_t k = 0; k < d; ++k) {
      typename S::F w[NP];
      for (int p = 0; p < NP; ++p) w[p] = load_kv<S, type>(keys + p * panel + kv_bytes(type, size_t{k} * kPanelRows));
      for (int i = 0; i < NR; ++i)
        for (int p = 0; p < NP; ++p) acc[i][p] = S::fma(w[p], S::set1(q[i][k]), acc[i][p]);
    }
    for (int i = 0; i < NR; ++i)
      for (int p = 0; p < NP; ++p) S::store(scores + size_t(i) * kKvBlock + p * kPanelRows, acc[i][p]);
  }
}

// o[row] = o[row] * correction + weights . values for NR rows and NV vectors of dimensions, values being quads of tokens:
// 128 * (high . v) + (low . v) is exact in int32, at most 64 * 16383 * 128. With codes of four bits in place of int8 a register
// has 32 dimensions, and it is 2 * (weights . codes) - 15 * sum(weights).
template <class S, KvType type, int NR, int NV>
void weigh_quads(const uint8_t* values, uint32_t d, uint32_t quads, const uint8_t (*weights)[2 * kKvBlock],
                 const int32_t* weight_sums, const float* scales, const float* corrections, const Prefetch& prefetch,
                 float* const* o) {
  constexpr bool kCodes = type == KvType::int4;
  constexpr int kVectors = kCodes ? 2 : 1;  // of a register
  static_assert(NV % kVectors == 0);
  typename S::I high[NR][NV], low[NR][NV];
  for (int i = 0; i < NR; ++i)
    for (int j = 0; j < NV; ++j) high[i][j] = low[i][j] = S::izero();
  for (uint32_t q = 0; q < quads; ++q) {
    typename S::W v[NV];
    for (int j = 0; j < NV; j += kVectors) {
      v[j] = S::load_w(values + size_t{q} * 4 / kVectors * d + j * 64 / kVectors);
      prefetch.at<S>((size_t{q} * NV + j) * 64 / kVectors);
      if constexpr (kCodes) {
        v[j + 1] = S::high_nibbles(v[j]);
        v[j] = S::low_nibbles(v[j]);
      }
    }
    for (int i = 0; i < NR; ++i)
      for (int j = 0; j < NV; ++j) {
        high[i][j] = S::dot_weights(high[i][j], v[j], weights[i] + q * 4);
        low[i][j] = S::dot_weights(low[i][j], v[j], weights[i] + kKvBlock + q * 4);
      }
  }
  for (int i = 0; i < NR; ++i)
    for (int j = 0; j < NV; ++j) {
      typename S::I sum = S::join_weights(high[i][j], low[i][j]);
      if constexpr (kCodes) sum = S::isub(S::iadd(sum, sum), S::iset1(15 * weight_sums[i]));
      add_block<S>(o[i] + j * 16, sum, scales[i], corrections[i]);
    }
}

// The same in float32, values being rows of dimensions.
template <class S, KvType type, int NR, int NV>
void weigh_rows(const uint8_t* values, uint32_t d, uint32_t tokens, const float (*weights)[kKvBlock], const float* corrections,
                float* const* o) {
  typename S::F acc[NR][NV];
  for (int i = 0; i < NR; ++i)
    for (int j = 0; j < NV; ++j) acc[i][j] = S::mul(S::load(o[i] + j * 16), S::set1(corrections[i]));
  for (uint32_t t = 0; t < tokens; ++t) {
    typename S::F v[NV];
    for (int j = 0; j < NV; ++j) v[j] = load_kv<S, type>(values + kv_bytes(type, size_t{t} * d + j * 16));
    for (int i = 0; i < NR; ++i)
      for (int j = 0; j < NV; ++j) acc[i][j] = S::fma(v[j], S::set1(weights[i][t]), acc[i][j]);
  }
  for (int i = 0; i < NR; ++i)
    for (int j = 0; j < NV; ++j) S::store(o[i] + j * 16, acc[i][j]);
}

// Two accumulators a row with integer values, one otherwise.
template <class S, KvType type>
inline constexpr int kValueRows = is_integer(type) ? S::kTileRows / 2 : S::kTileRows;

// One block of the cache, and how it is walked: rows in strips, each scored, turned into weights and weighed while it is in L1.
template <class S, KvType type>
struct AttentionBlock {
  AttentionRows rows;
  const KvBlockLayout& layout;
  AttentionState& state;
  AttentionStrip<kStripRows>& strip;
  RoundedQueries& rounded;
  const CacheBlock block;

  // Whether the rows read their own page's keys, which are not packed.
  bool open() const { return packs_keys(type) && block.start + kKvBlock > rows.a.position; }

  // While keys are read, the block's values come into L1 and the next one's keys into L2.
  Prefetch beside_keys(size_t offset) const { return {block.data + layout.values + offset, block.ahead + layout.keys + offset}; }
  // Then the next one's keys into L1 and its values into L2.
  Prefetch beside_values(size_t offset) const {
    return {block.ahead + layout.keys + offset, block.ahead + layout.values + offset};
  }

  void round_strip(uint32_t first, uint32_t count) const {
    constexpr uint32_t kTogether = 4;
    const uint32_t d = rows.a.head_dim;
    const float* q[kTogether];
    for (uint32_t i = 0; i < count; i += kTogether) {
      const uint32_t some = count - i < kTogether ? count - i : kTogether;
      for (uint32_t r = 0; r < some; ++r)
        q[r] = static_cast<const float*>(rows.a.q) + size_t{state.indices[rows.state(first + i + r)]} * d;
      with_count<kTogether>(static_cast<int>(some), [&]<int NR>() {
        round_queries<S, NR>(q, reinterpret_cast<const float*>(block.data + layout.key_scales), d, i, rounded);
      });
    }
  }

  void score(uint32_t first, uint32_t count, bool leads) const {
    if constexpr (packs_keys(type)) {
      if (open())
        return score_as<KvType::bf16>(first, count, false, rows.a.open_keys + block.head * open_keys_bytes(rows.a.head_dim));
      round_strip(first, count);
    }
    score_as<type>(first, count, leads, block.data + layout.keys);
  }

  template <KvType key_type>
  void score_as(uint32_t first, uint32_t count, bool leads, const uint8_t* keys) const {
    const uint32_t panels = (block.tokens + kPanelRows - 1) / kPanelRows;
    const float* scales = reinterpret_cast<const float*>(block.data + layout.key_scales);
    for (uint32_t i = 0; i < count; i += S::kTileRows)
      for (uint32_t panel = 0, together; panel < panels; panel += together) {
        together = panels_together(panels - panel, S::kTilePanels);
        const int nr = count - i < S::kTileRows ? static_cast<int>(count - i) : S::kTileRows;
        const size_t offset = kv_bytes(key_type, size_t{panel} * kPanelRows * rows.a.head_dim);
        const uint32_t at = rows.state(first + i);
        const Prefetch prefetch = leads && i == 0 ? beside_keys(offset) : Prefetch{};
        float* scores = strip.scores[i] + panel * kPanelRows;
        with_count<S::kTileRows>(nr, [&]<int NR>() {
          with_one_of<S::kTilePanels, 1>(static_cast<int>(together), [&]<int NP>() {
            if constexpr (packs_keys(key_type))
              score_codes<S, NR, NP>(rounded, i, rows.a.head_dim, keys + offset, prefetch, scores);
            else
              score_panels<S, key_type, NR, NP>(rows.a, keys + offset, scales + panel * kPanelRows, state.indices + at,
                                                state.q_sums + at, prefetch, scores);
          });
        });
      }
  }

  void weigh(uint32_t first, uint32_t count, bool leads) const {
    const uint32_t d = rows.a.head_dim;
    constexpr int kRows = kValueRows<S, type>;
    for (uint32_t i = 0; i < count; i += kRows) {
      const int nr = count - i < kRows ? static_cast<int>(count - i) : kRows;
      float* o[kRows];
      for (int r = 0; r < nr; ++r)
        o[r] = rows.a.out + size_t{state.indices[rows.state(first + i) + static_cast<uint32_t>(r)]} * d;
      for (uint32_t dim = 0; dim < d; dim += S::kTileVectors * 16) {
        const int nv = d - dim < S::kTileVectors * 16 ? static_cast<int>(d - dim) / 16 : S::kTileVectors;
        with_count<kRows>(nr, [&]<int NR>() {
          with_one_of<S::kTileVectors, 2>(nv, [&]<int NV>() {  // head_dim is a multiple of 32
            if constexpr (is_integer(type)) {
              weigh_quads<S, type, NR, NV>(
                  block.data + layout.values + kv_bytes(type, size_t{dim} * 4), d, (block.tokens + 3) / 4, strip.weights + i,
                  strip.weight_sums + i, strip.weight_scales + i, strip.corrections + i,
                  leads && i == 0 ? beside_values(kv_bytes(type, size_t{dim} * kKvBlock)) : Prefetch{}, o);
            } else {
              weigh_rows<S, type, NR, NV>(block.data + layout.values + kv_bytes(type, dim), d, block.tokens, strip.scores + i,
                                          strip.corrections + i, o);
            }
          });
        });
        for (int r = 0; r < nr; ++r) o[r] += S::kTileVectors * 16;
      }
    }
  }

  static void fetch(const uint8_t* begin, size_t bytes) {
    for (size_t at = 0; at < bytes; at += 64) S::prefetch(begin + at);
  }

  void run(uint32_t begin, uint32_t end) const {
    const float* value_scales = reinterpret_cast<const float*>(block.data + layout.value_scales);
    for (uint32_t first = begin; first < end; first += kStripRows) {
      const uint32_t count = end - first < kStripRows ? end - first : kStripRows;
      // The first rows take the next block along line by line; a short block, the last, is asked for at once, and no more of it
      // than is read.
      const bool leads = is_integer(type) && first == begin, whole = block.tokens == kKvBlock;
      if (leads) fetch(block.data + layout.value_scales, kKvBlock * 4);
      if (leads && !whole)
        fetch(block.data + layout.values, kv_bytes(type, size_t{(block.tokens + 3) / 4} * 4 * rows.a.head_dim));
      score(first, count, leads && whole);
      softmax_strip<S, is_integer(type) ? type : KvType::f32>(rows.state(first), count, block.start, value_scales, state, strip);
      if (leads && !whole)
        fetch(block.ahead,
              kv_bytes(type, size_t{(block.ahead_tokens + kPanelRows - 1) / kPanelRows} * kPanelRows * rows.a.head_dim));
      if (leads) fetch(block.ahead + layout.key_scales, layout.values - layout.key_scales);
      weigh(first, count, leads && whole);
    }
  }
};

template <class S, KvType type>
void attention_of(const AttentionTask& a) {
  const KvBlockLayout layout = kv_block_layout(type, a.head_dim);
  AttentionScratch& scratch = *reinterpret_cast<AttentionScratch*>(a.scratch);
  begin_rows<S, rounds_queries(type)>(a, scratch.state);
  for_each_block(a, layout, [&](const CacheBlock& block) {
    const AttentionBlock<S, type> walk{{a, block.head}, layout, scratch.state, scratch.strip, scratch.rounded, block};
    walk.run(block.begin, a.tokens * a.group);
  });
  finish_rows<S>(a, scratch.state);
}

template <class S>
void attention_integer(const AttentionTask& a) {
  if (a.type == KvType::int8) return attention_of<S, KvType::int8>(a);
  attention_of<S, KvType::int4>(a);
}

template <class S>
void attention_simd(const AttentionTask& a) {
  if (is_integer(a.type)) return attention_integer<S>(a);
  if (a.type == KvType::bf16) return attention_of<S, KvType::bf16>(a);
  attention_of<S, KvType::f32>(a);
}

}  // namespace
}  // namespace q3e
