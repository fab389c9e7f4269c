// Attention of the query heads that share a KV head, for any tier's vocabulary S. Keys are panels of 16 tokens, so scores are
// a matmul with tokens as lanes; values are quads of tokens (int8) or rows, so the weighted sum has dimensions as lanes.
#pragma once

#include "ukernels/kernels.h"
#include "ukernels/math_simd.h"
#include "ukernels/matmul_simd.h"

namespace q3e {
namespace {

inline constexpr uint32_t kBlockPanels = kKvBlock / kPanelRows;
inline constexpr uint32_t kStripRows = 12;  // rows whose scores and weights are held at once: whole tiles of every tier
inline constexpr uint32_t kLaneRows = 16;   // their scalars are lanes of one vector
static_assert(kStripRows <= kLaneRows);

template <KvType type>
inline constexpr size_t kKvWidth = type == KvType::int8   ? 1
                                   : type == KvType::bf16 ? 2
                                                          : 4;

template <class S, KvType type>
typename S::F load_kv(const uint8_t* p) {
  static_assert(type != KvType::int8);
  if constexpr (type == KvType::bf16) return S::load_bf16(p);
  return S::load(reinterpret_cast<const float*>(p));
}

// The rows of a task: row i is token i / group, head i % group of the group.
struct AttentionRows {
  const AttentionTask& a;
  size_t index(uint32_t i) const { return i / a.group * a.q_stride + i % a.group; }
  uint32_t position(uint32_t i) const { return a.position + i / a.group; }
};

struct AttentionState {
  // Of all rows, read in whole vectors.
  static constexpr uint32_t kRows = (kAttentionRows > kMaxGroup ? kAttentionRows : kMaxGroup) + kLaneRows;
  float maxima[kRows], denominators[kRows], q_scales[kRows];
  int32_t q_sums[kRows];
  // Of the rows of a strip.
  float corrections[kLaneRows], weight_scales[kLaneRows];
  alignas(64) float scores[kStripRows][kKvBlock];         // then weights, when values are not int8
  alignas(64) uint8_t weights[kStripRows][2 * kKvBlock];  // int8 values: high seven bits, then low seven bits
};
static_assert(sizeof(AttentionState) <= kAttentionScratchBytes);

// scores[row][NP panels of 16] for NR rows from `row` on, without the queries' scales. `ahead` is where the same keys of the next
// block lie, or null.
template <class S, KvType type, int NR, int NP>
void score_panels(const AttentionRows& rows, const uint8_t* keys, const float* key_scales, uint32_t row, const int32_t* q_sums,
                  const uint8_t* ahead, float* scores) {
  const AttentionTask& a = rows.a;
  const uint32_t d = a.head_dim;
  const size_t panel = size_t{kPanelRows} * d * kKvWidth<type>;
  if constexpr (type == KvType::int8) {
    const int8_t* q[NR];
    typename S::I acc[NR][NP];
    for (int i = 0; i < NR; ++i) {
      q[i] = static_cast<const int8_t*>(a.q) + rows.index(row + i) * d;
      for (int p = 0; p < NP; ++p) acc[i][p] = S::iset1(-S::kSignedBias * q_sums[row + i]);
    }
    for (uint32_t k = 0; k < d; k += 4) {
      typename S::W w[NP];
      for (int p = 0; p < NP; ++p) {
        w[p] = S::load_signed(keys + p * panel + size_t{k} * kPanelRows);
        if (ahead) S::prefetch(ahead + p * panel + size_t{k} * kPanelRows);
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
      q[i] = static_cast<const float*>(a.q) + rows.index(row + i) * d;
      for (int p = 0; p < NP; ++p) acc[i][p] = S::zero();
    }
    for (uint32_t k = 0; k < d; ++k) {
      typename S::F w[NP];
      for (int p = 0; p < NP; ++p) w[p] = load_kv<S, type>(keys + p * panel + size_t{k} * kPanelRows * kKvWidth<type>);
      for (int i = 0; i < NR; ++i)
        for (int p = 0; p < NP; ++p) acc[i][p] = S::fma(w[p], S::set1(q[i][k]), acc[i][p]);
    }
    for (int i = 0; i < NR; ++i)
      for (int p = 0; p < NP; ++p) S::store(scores + size_t(i) * kKvBlock + p * kPanelRows, acc[i][p]);
  }
}

// Scores of rows [first, first + count) against the block at `start` become weights 2^(s - m), zero for positions that a row does
// not see. With int8 values a weight takes its value's scale and becomes an integer of 14 bits, relative to the row's largest.
template <class S, KvType type>
void softmax_strip(const AttentionRows& rows, uint32_t first, uint32_t count, uint32_t start, const float* value_scales,
                   AttentionState& state) {
  using F = typename S::F;
  const auto lanes_seen = [&](uint32_t i, uint32_t panel) -> uint32_t {
    const uint32_t seen = rows.position(first + i) - start + 1;
    return seen > panel * kPanelRows ? seen - panel * kPanelRows : 0;
  };
  float tops[kLaneRows] = {}, sums[kLaneRows] = {}, shifts[kLaneRows], inverses[kLaneRows];
  for (uint32_t i = 0; i < count; ++i) {
    F top = S::set1(-1e30f);
    for (uint32_t j = 0; j < kBlockPanels; ++j)
      top = S::max(S::first_lanes(S::load(state.scores[i] + j * kPanelRows), lanes_seen(i, j), S::set1(-1e30f)), top);
    tops[i] = S::fold_max(top);
  }
  const F before = S::load(state.maxima + first);
  const F maximum = S::max(S::mul(S::load(tops), S::load(state.q_scales + first)), before);
  const F correction = exp2_simd<S>(S::sub(before, maximum));
  S::store(state.maxima + first, S::first_lanes(maximum, count, before));
  S::store(state.corrections, correction);
  S::store(shifts, S::negate(maximum));
  for (uint32_t i = 0; i < count; ++i) {
    const F scale = S::set1(state.q_scales[first + i]), shift = S::set1(shifts[i]);
    F sum = S::zero(), top = S::zero();
    for (uint32_t j = 0; j < kBlockPanels; ++j) {
      float* at = state.scores[i] + j * kPanelRows;
      F p = S::first_lanes(exp2_simd<S>(S::fma(S::load(at), scale, shift)), lanes_seen(i, j), S::zero());
      sum = S::add(sum, p);
      if constexpr (type == KvType::int8) {
        p = S::first_lanes(S::mul(p, S::load(value_scales + j * kPanelRows)), lanes_seen(i, j), S::zero());
        top = S::max(p, top);
      }
      S::store(at, p);
    }
    sums[i] = S::fold(sum);
    if constexpr (type == KvType::int8) tops[i] = S::fold_max(top);
  }
  const F denominator = S::load(state.denominators + first);
  S::store(state.denominators + first, S::first_lanes(S::fma(denominator, correction, S::load(sums)), count, denominator));
  if constexpr (type == KvType::int8) {
    const F top = S::max(S::load(tops), S::set1(kLeastWeight));
    S::store(inverses, S::div(S::set1(kLargestWeight), top));
    S::store(state.weight_scales, S::mul(top, S::set1(1 / kLargestWeight)));
    for (uint32_t i = 0; i < count; ++i) {
      typename S::I w[kBlockPanels];
      for (uint32_t j = 0; j < kBlockPanels; ++j)
        w[j] = S::to_int(S::mul(S::load(state.scores[i] + j * kPanelRows), S::set1(inverses[i])));
      S::store_weights(state.weights[i], state.weights[i] + kKvBlock, w);
    }
  }
}

// o[row] = o[row] * correction + weights . values for NR rows and NV vectors of dimensions, values being quads of tokens:
// 128 * (high . v) + (low . v) is exact in int32, at most 64 * 16383 * 128.
template <class S, int NR, int NV>
void weigh_quads(const uint8_t* values, uint32_t d, uint32_t quads, const uint8_t (*weights)[2 * kKvBlock], const float* scales,
                 const float* corrections, const uint8_t* ahead, float* const* o) {
  typename S::I high[NR][NV], low[NR][NV];
  for (int i = 0; i < NR; ++i)
    for (int j = 0; j < NV; ++j) high[i][j] = low[i][j] = S::izero();
  for (uint32_t q = 0; q < quads; ++q) {
    typename S::W v[NV];
    for (int j = 0; j < NV; ++j) {
      v[j] = S::load_w(values + size_t{q} * 4 * d + j * 64);
      if (ahead) S::prefetch(ahead + size_t{q} * 4 * d + j * 64);
    }
    for (int i = 0; i < NR; ++i)
      for (int j = 0; j < NV; ++j) {
        high[i][j] = S::dot_weights(high[i][j], v[j], weights[i] + q * 4);
        low[i][j] = S::dot_weights(low[i][j], v[j], weights[i] + kKvBlock + q * 4);
      }
  }
  for (int i = 0; i < NR; ++i)
    for (int j = 0; j < NV; ++j) {
      const typename S::F sum = S::to_float(S::join_weights(high[i][j], low[i][j]));
      const typename S::F before = S::mul(S::load(o[i] + j * 16), S::set1(corrections[i]));
      S::store(o[i] + j * 16, S::fma(sum, S::set1(scales[i]), before));
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
    for (int j = 0; j < NV; ++j) v[j] = load_kv<S, type>(values + (size_t{t} * d + j * 16) * kKvWidth<type>);
    for (int i = 0; i < NR; ++i)
      for (int j = 0; j < NV; ++j) acc[i][j] = S::fma(v[j], S::set1(weights[i][t]), acc[i][j]);
  }
  for (int i = 0; i < NR; ++i)
    for (int j = 0; j < NV; ++j) S::store(o[i] + j * 16, acc[i][j]);
}

// Two accumulators a row with int8 values, one otherwise.
template <class S, KvType type>
inline constexpr int kValueRows = type == KvType::int8 ? S::kTileRows / 2 : S::kTileRows;

// One block of the cache, and how it is walked: rows in strips, each scored, turned into weights and weighed while it is in L1.
template <class S, KvType type>
struct AttentionBlock {
  const AttentionRows& rows;
  const KvBlockLayout& layout;
  AttentionState& state;
  const uint8_t* block;
  uint32_t start, tokens;
  const uint8_t* ahead;  // the block that is read next, or null

  void score(uint32_t first, uint32_t count, bool prefetch) const {
    const uint32_t panels = (tokens + kPanelRows - 1) / kPanelRows;
    const float* scales = reinterpret_cast<const float*>(block + layout.key_scales);
    for (uint32_t i = 0; i < count; i += S::kTileRows)
      for (uint32_t panel = 0; panel < panels; panel += S::kTilePanels) {
        const int nr = count - i < S::kTileRows ? static_cast<int>(count - i) : S::kTileRows;
        const int np = panels - panel < S::kTilePanels ? static_cast<int>(panels - panel) : S::kTilePanels;
        const size_t offset = layout.keys + size_t{panel} * kPanelRows * rows.a.head_dim * kKvWidth<type>;
        with_count<S::kTileRows>(nr, [&]<int NR>() {
          with_count<S::kTilePanels>(np, [&]<int NP>() {
            score_panels<S, type, NR, NP>(rows, block + offset, scales + panel * kPanelRows, first + i, state.q_sums,
                                          prefetch && i == 0 ? ahead + offset : nullptr, state.scores[i] + panel * kPanelRows);
          });
        });
      }
  }

  void weigh(uint32_t first, uint32_t count, bool prefetch) const {
    const uint32_t d = rows.a.head_dim;
    constexpr int kRows = kValueRows<S, type>;
    for (uint32_t i = 0; i < count; i += kRows) {
      const int nr = count - i < kRows ? static_cast<int>(count - i) : kRows;
      float* o[kRows];
      for (int r = 0; r < nr; ++r) o[r] = rows.a.out + rows.index(first + i + static_cast<uint32_t>(r)) * d;
      for (uint32_t dim = 0; dim < d; dim += S::kTileVectors * 16) {
        const int nv = d - dim < S::kTileVectors * 16 ? static_cast<int>(d - dim) / 16 : S::kTileVectors;
        with_count<kRows>(nr, [&]<int NR>() {
          with_count<S::kTileVectors>(nv, [&]<int NV>() {
            if constexpr (type == KvType::int8) {
              const size_t offset = layout.values + size_t{dim} * 4;
              weigh_quads<S, NR, NV>(block + offset, d, (tokens + 3) / 4, state.weights + i, state.weight_scales + i,
                                     state.corrections + i, prefetch && i == 0 ? ahead + offset : nullptr, o);
            } else {
              weigh_rows<S, type, NR, NV>(block + layout.values + size_t{dim} * kKvWidth<type>, d, tokens, state.scores + i,
                                          state.corrections + i, o);
            }
          });
        });
        for (int r = 0; r < nr; ++r) o[r] += S::kTileVectors * 16;
      }
    }
  }

  void fetch(size_t begin, size_t end) const {
    for (size_t at = begin; at < end; at += 64) S::prefetch(ahead + at);
  }

  void run(uint32_t begin, uint32_t end) const {
    const float* value_scales = reinterpret_cast<const float*>(block + layout.value_scales);
    for (uint32_t first = begin; first < end; first += kStripRows) {
      const uint32_t count = end - first < kStripRows ? end - first : kStripRows;
      // A whole block takes the next one along line by line; a short one, the last, would not reach all of it.
      const bool leads = ahead && type == KvType::int8 && first == begin, whole = tokens == kKvBlock;
      if (leads) fetch(whole ? layout.key_scales : layout.keys, layout.values);
      score(first, count, leads && whole);
      softmax_strip<S, type>(rows, first, count, start, value_scales, state);
      if (leads) fetch(whole ? layout.value_scales : layout.values, layout.bytes);
      weigh(first, count, leads && whole);
    }
  }
};

template <class S, KvType type>
void attention_of(const AttentionTask& a) {
  const uint32_t d = a.head_dim, count = a.tokens * a.group;
  const AttentionRows rows{a};
  const KvBlockLayout layout = kv_block_layout(type, d);
  AttentionState& state = *reinterpret_cast<AttentionState*>(a.scratch);
  for (uint32_t i = 0; i < count; ++i) {
    float* o = a.out + rows.index(i) * d;
    for (uint32_t j = 0; j < d; j += 16) S::store(o + j, S::zero());
  }
  for (uint32_t i = 0; i < count + kLaneRows; ++i) {
    state.maxima[i] = -1e30f;
    state.denominators[i] = 0;
    state.q_scales[i] = 1;
    state.q_sums[i] = 0;
    if constexpr (type == KvType::int8) {
      if (i >= count) continue;
      const int8_t* q = static_cast<const int8_t*>(a.q) + rows.index(i) * d;
      for (uint32_t k = 0; k < d; ++k) state.q_sums[i] += q[k];
      state.q_scales[i] = a.q_scales[rows.index(i)];
    }
  }
  const uint32_t last = a.position + a.tokens - 1;
  for (uint32_t start = 0; start <= last; start += kKvBlock) {
    const uint32_t tokens = last - start + 1 < kKvBlock ? last - start + 1 : kKvBlock;
    // Rows whose token lies before this block are done: `begin` is the first that is not.
    const uint32_t begin = start > a.position ? (start - a.position) * a.group : 0;
    const uint8_t* ahead = start + kKvBlock <= last ? a.pages[start / kKvBlock + 1] + a.offset : a.next;
    AttentionBlock<S, type>{rows, layout, state, a.pages[start / kKvBlock] + a.offset, start, tokens, ahead}.run(begin, count);
  }
  for (uint32_t i = 0; i < count; ++i) {
    float* o = a.out + rows.index(i) * d;
    const typename S::F denominator = S::set1(state.denominators[i]);
    for (uint32_t j = 0; j < d; j += 16) S::store(o + j, S::div(S::load(o + j), denominator));
  }
}

template <class S>
void attention_simd(const AttentionTask& a) {
  if (a.type == KvType::int8) return attention_of<S, KvType::int8>(a);
  if (a.type == KvType::bf16) return attention_of<S, KvType::bf16>(a);
  attention_of<S, KvType::f32>(a);
}

}  // namespace
}  // namespace q3e
