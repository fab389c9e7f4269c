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

template <class S, KvType type>
typename S::F load_kv(const uint8_t* p) {
  static_assert(!is_integer(type));
  if constexpr (type == KvType::bf16) return S::load_bf16(p);
  return S::load(reinterpret_cast<const float*>(p));
}

// The rows of one KV head of a task: row i is token i / group, head i % group of the group.
struct AttentionRows {
  const AttentionTask& a;
  uint32_t head;
  uint32_t count() const { return a.tokens * a.group; }
  size_t index(uint32_t i) const { return i / a.group * a.q_stride + head * a.group + i % a.group; }
  uint32_t state(uint32_t i) const { return head * count() + i; }  // its place in AttentionState
};

struct AttentionState {
  static constexpr uint32_t kRows = kMaxGroup + kLaneRows;  // of all KV heads, and what a vector reads beyond them
  float maxima[kRows], denominators[kRows], q_scales[kRows];
  int32_t q_sums[kRows];
  uint32_t indices[kRows], positions[kRows];  // AttentionRows::index, and of the row's token
  // Of the rows of a strip.
  float corrections[kLaneRows], weight_scales[kLaneRows];
  int32_t weight_sums[kLaneRows];
  alignas(64) float scores[kStripRows][kKvBlock];         // then weights, when values are not integers
  alignas(64) uint8_t weights[kStripRows][2 * kKvBlock];  // integer values: high seven bits, then low seven bits
};
static_assert(sizeof(AttentionState) <= kAttentionScratchBytes);

// What a row of registers reads is asked for twice: from memory into L2 a block ahead, from there into L1 half a block ahead.
struct Prefetch {
  const uint8_t *near, *far;  // where the same place of a tile lies in what comes next and after next, or null
  template <class S>
  void at(size_t offset) const {
    if (!near) return;
    S::prefetch(near + offset);
    S::prefetch_far(far + offset);
  }
};

// scores[row][NP panels of 16] for NR rows, without the queries' scales.
template <class S, KvType type, int NR, int NP>
void score_panels(const AttentionTask& a, const uint8_t* keys, const float* key_scales, const uint32_t* indices,
                  const int32_t* q_sums, const Prefetch& prefetch, float* scores) {
  const uint32_t d = a.head_dim;
  const size_t panel = kv_bytes(type, size_t{kPanelRows} * d);
  if constexpr (type == KvType::int4) {
    const int8_t* q[NR];
    typename S::I acc[NR][NP];
    for (int i = 0; i < NR; ++i) {
      q[i] = static_cast<const int8_t*>(a.q) + size_t{indices[i]} * d;
      for (int p = 0; p < NP; ++p) acc[i][p] = S::izero();
    }
    for (uint32_t k = 0; k < d; k += 8) {
      typename S::W w[NP];
      for (int p = 0; p < NP; ++p) {
        w[p] = S::load_w(keys + p * panel + size_t{k} * 8);
        prefetch.at<S>(p * panel + size_t{k} * 8);
      }
      for (int i = 0; i < NR; ++i)
        for (int p = 0; p < NP; ++p) {
          acc[i][p] = S::dot_nibbles(acc[i][p], S::low_nibbles(w[p]), q[i] + k);
          acc[i][p] = S::dot_nibbles(acc[i][p], S::high_nibbles(w[p]), q[i] + k + 4);
        }
    }
    for (int i = 0; i < NR; ++i) {
      const typename S::I middle = S::iset1(15 * q_sums[i]);
      for (int p = 0; p < NP; ++p) {
        const typename S::I sum = S::isub(S::iadd(acc[i][p], acc[i][p]), middle);
        S::store(scores + size_t(i) * kKvBlock + p * kPanelRows, S::mul(S::to_float(sum), S::load(key_scales + p * kPanelRows)));
      }
    }
  } else if constexpr (type == KvType::int8) {
    const int8_t* q[NR];
    typename S::I acc[NR][NP];
    for (int i = 0; i < NR; ++i) {
      q[i] = static_cast<const int8_t*>(a.q) + size_t{indices[i]} * d;
      for (int p = 0; p < NP; ++p) acc[i][p] = S::iset1(-S::kSignedBias * q_sums[i]);
    }
    for (uint32_t k = 0; k < d; k += 4) {
      typename S::W w[NP];
      for (int p = 0; p < NP; ++p) {
        w[p] = S::load_signed(keys + p * panel + size_t{k} * kPanelRows);
        prefetch.at<S>(p * panel + size_t{k} * kPanelRows);
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

// Scores of rows [first, first + count) against the block at `start` become weights 2^(s - m), zero for positions that a row does
// not see. With int8 values a weight takes its value's scale and becomes an integer of 14 bits, relative to the row's largest.
// whole: all rows see all of the block. `first` counts the state's rows.
template <class S, KvType type, bool whole>
void softmax_strip(uint32_t first, uint32_t count, uint32_t start, const float* value_scales, AttentionState& state) {
  using F = typename S::F;
  // Lanes of positions that row i does not see take the value v.
  const auto masked = [&](F x, uint32_t i, uint32_t panel, float v) __attribute__((always_inline)) {
    if constexpr (whole) return x;
    const uint32_t seen = state.positions[first + i] - start + 1, before = panel * kPanelRows;
    return S::first_lanes(x, seen > before ? seen - before : 0, S::set1(v));
  };
  float tops[kLaneRows] = {}, sums[kLaneRows] = {}, shifts[kLaneRows], inverses[kLaneRows];
  for (uint32_t i = 0; i < count; ++i) {
    F top = S::set1(-1e30f);
    for (uint32_t j = 0; j < kBlockPanels; ++j)
      top = S::max(masked(S::load(state.scores[i] + j * kPanelRows), i, j, -1e30f), top);
    tops[i] = S::fold_max(top);
  }
  float *const maxima = state.maxima + first, *const denominators = state.denominators + first;
  const float* const q_scales = state.q_scales + first;
  const F before = S::load(maxima);
  const F maximum = S::max(S::mul(S::load(tops), S::load(q_scales)), before);
  const F correction = exp2_simd<S>(S::sub(before, maximum));
  S::store(maxima, S::first_lanes(maximum, count, before));
  S::store(state.corrections, correction);
  S::store(shifts, S::negate(maximum));
  for (uint32_t i = 0; i < count; ++i) {
    const F scale = S::set1(q_scales[i]), shift = S::set1(shifts[i]);
    F sum = S::zero(), top = S::zero();
    for (uint32_t j = 0; j < kBlockPanels; ++j) {
      float* at = state.scores[i] + j * kPanelRows;
      F p = masked(exp2_simd<S>(S::fma(S::load(at), scale, shift)), i, j, 0);
      sum = S::add(sum, p);
      if constexpr (is_integer(type)) {
        p = masked(S::mul(p, S::load(value_scales + j * kPanelRows)), i, j, 0);
        top = S::max(p, top);
      }
      S::store(at, p);
    }
    sums[i] = S::fold(sum);
    if constexpr (is_integer(type)) tops[i] = S::fold_max(top);
  }
  const F denominator = S::load(denominators);
  S::store(denominators, S::first_lanes(S::fma(denominator, correction, S::load(sums)), count, denominator));
  if constexpr (is_integer(type)) {
    const F top = S::max(S::load(tops), S::set1(kLeastWeight));
    S::store(inverses, S::div(S::set1(kLargestWeight), top));
    S::store(state.weight_scales, S::mul(top, S::set1(1 / kLargestWeight)));
    for (uint32_t i = 0; i < count; ++i) {
      typename S::I w[kBlockPanels];
      for (uint32_t j = 0; j < kBlockPanels; ++j)
        w[j] = S::to_int(S::mul(S::load(state.scores[i] + j * kPanelRows), S::set1(inverses[i])));
      S::store_weights(state.weights[i], state.weights[i] + kKvBlock, w);
      if constexpr (type == KvType::int4) state.weight_sums[i] = S::ifold(S::iadd(S::iadd(w[0], w[1]), S::iadd(w[2], w[3])));
    }
  }
}

// o[row] = o[row] * correction + weights . values for NR rows and NV vectors of dimensions, values being quads of tokens:
// 128 * (high . v) + (low . v) is exact in int32, at most 64 * 16383 * 128.
template <class S, int NR, int NV>
void weigh_quads(const uint8_t* values, uint32_t d, uint32_t quads, const uint8_t (*weights)[2 * kKvBlock], const float* scales,
                 const float* corrections, const Prefetch& prefetch, float* const* o) {
  typename S::I high[NR][NV], low[NR][NV];
  for (int i = 0; i < NR; ++i)
    for (int j = 0; j < NV; ++j) high[i][j] = low[i][j] = S::izero();
  for (uint32_t q = 0; q < quads; ++q) {
    typename S::W v[NV];
    for (int j = 0; j < NV; ++j) {
      v[j] = S::load_w(values + size_t{q} * 4 * d + j * 64);
      prefetch.at<S>(size_t{q} * 4 * d + j * 64);
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

// The same with codes of four bits in place of int8, 32 dimensions in a register: 2 * (weights . codes) - 15 * sum(weights).
template <class S, int NR, int NV>
void weigh_codes(const uint8_t* values, uint32_t d, uint32_t quads, const uint8_t (*weights)[2 * kKvBlock],
                 const int32_t* weight_sums, const float* scales, const float* corrections, const Prefetch& prefetch,
                 float* const* o) {
  static_assert(NV % 2 == 0);
  typename S::I high[NR][NV], low[NR][NV];
  for (int i = 0; i < NR; ++i)
    for (int j = 0; j < NV; ++j) high[i][j] = low[i][j] = S::izero();
  for (uint32_t q = 0; q < quads; ++q) {
    typename S::W v[NV];
    for (int j = 0; j < NV; j += 2) {
      const typename S::W pair = S::load_w(values + size_t{q} * 2 * d + j * 32);
      prefetch.at<S>(size_t{q} * 2 * d + j * 32);
      v[j] = S::low_nibbles(pair);
      v[j + 1] = S::high_nibbles(pair);
    }
    for (int i = 0; i < NR; ++i)
      for (int j = 0; j < NV; ++j) {
        high[i][j] = S::dot_weights(high[i][j], v[j], weights[i] + q * 4);
        low[i][j] = S::dot_weights(low[i][j], v[j], weights[i] + kKvBlock + q * 4);
      }
  }
  for (int i = 0; i < NR; ++i)
    for (int j = 0; j < NV; ++j) {
      const typename S::I sum = S::join_weights(high[i][j], low[i][j]);
      const typename S::F value = S::to_float(S::isub(S::iadd(sum, sum), S::iset1(15 * weight_sums[i])));
      const typename S::F before = S::mul(S::load(o[i] + j * 16), S::set1(corrections[i]));
      S::store(o[i] + j * 16, S::fma(value, S::set1(scales[i]), before));
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
  const uint8_t* block;
  uint32_t start, tokens;
  const uint8_t* ahead;   // the block that is read next,
  uint32_t ahead_tokens;  // and how much of it

  // While keys are read, the block's values come into L1 and the next one's keys into L2.
  Prefetch beside_keys(size_t offset) const { return {block + layout.values + offset, ahead + layout.keys + offset}; }
  // Then the next one's keys into L1 and its values into L2.
  Prefetch beside_values(size_t offset) const { return {ahead + layout.keys + offset, ahead + layout.values + offset}; }

  void score(uint32_t first, uint32_t count, bool leads) const {
    const uint32_t panels = (tokens + kPanelRows - 1) / kPanelRows;
    const float* scales = reinterpret_cast<const float*>(block + layout.key_scales);
    for (uint32_t i = 0; i < count; i += S::kTileRows)
      for (uint32_t panel = 0; panel < panels; panel += S::kTilePanels) {
        const int nr = count - i < S::kTileRows ? static_cast<int>(count - i) : S::kTileRows;
        const int np = panels - panel < S::kTilePanels ? static_cast<int>(panels - panel) : S::kTilePanels;
        const size_t offset = kv_bytes(type, size_t{panel} * kPanelRows * rows.a.head_dim);
        const uint32_t at = rows.state(first + i);
        with_count<S::kTileRows>(nr, [&]<int NR>() {
          with_count<S::kTilePanels>(np, [&]<int NP>() {
            score_panels<S, type, NR, NP>(rows.a, block + layout.keys + offset, scales + panel * kPanelRows, state.indices + at,
                                          state.q_sums + at, leads && i == 0 ? beside_keys(offset) : Prefetch{},
                                          state.scores[i] + panel * kPanelRows);
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
          with_count<S::kTileVectors>(nv, [&]<int NV>() {
            if constexpr (type == KvType::int4) {
              const size_t offset = size_t{dim} * 2;
              if constexpr (NV % 2 == 0)  // head_dim is a multiple of 32
                weigh_codes<S, NR, NV>(block + layout.values + offset, d, (tokens + 3) / 4, state.weights + i,
                                       state.weight_sums + i, state.weight_scales + i, state.corrections + i,
                                       leads && i == 0 ? beside_values(offset) : Prefetch{}, o);
            } else if constexpr (type == KvType::int8) {
              const size_t offset = size_t{dim} * 4;
              weigh_quads<S, NR, NV>(block + layout.values + offset, d, (tokens + 3) / 4, state.weights + i,
                                     state.weight_scales + i, state.corrections + i,
                                     leads && i == 0 ? beside_values(offset) : Prefetch{}, o);
            } else {
              weigh_rows<S, type, NR, NV>(block + layout.values + kv_bytes(type, dim), d, tokens, state.scores + i,
                                          state.corrections + i, o);
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
    const float* value_scales = reinterpret_cast<const float*>(block + layout.value_scales);
    for (uint32_t first = begin; first < end; first += kStripRows) {
      const uint32_t count = end - first < kStripRows ? end - first : kStripRows;
      // The first rows take the next block along line by line; a short block, the last, is asked for at once, and no more of it
      // than is read.
      const bool leads = is_integer(type) && first == begin, whole = tokens == kKvBlock;
      if (leads) fetch(block + layout.value_scales, kKvBlock * 4);
      if (leads && !whole) fetch(block + layout.values, kv_bytes(type, size_t{(tokens + 3) / 4} * 4 * rows.a.head_dim));
      score(first, count, leads && whole);
      const uint32_t at = rows.state(first);
      if (state.positions[at] - start + 1 >= kKvBlock)
        softmax_strip<S, type, true>(at, count, start, value_scales, state);
      else
        softmax_strip<S, type, false>(at, count, start, value_scales, state);
      if (leads && !whole)
        fetch(ahead, kv_bytes(type, size_t{(ahead_tokens + kPanelRows - 1) / kPanelRows} * kPanelRows * rows.a.head_dim));
      if (leads) fetch(ahead + layout.key_scales, kKvBlock * 4);
      weigh(first, count, leads && whole);
    }
  }
};

template <class S, KvType type>
void begin_rows(const AttentionRows& rows, AttentionState& state) {
  const AttentionTask& a = rows.a;
  for (uint32_t i = 0; i < rows.count(); ++i) {
    const uint32_t at = rows.state(i), d = a.head_dim;
    float* o = a.out + rows.index(i) * d;
    for (uint32_t j = 0; j < d; j += 16) S::store(o + j, S::zero());
    state.indices[at] = static_cast<uint32_t>(rows.index(i));
    state.positions[at] = a.position + i / a.group;
    state.maxima[at] = -1e30f;
    state.denominators[at] = 0;
    state.q_scales[at] = 1;
    if constexpr (is_integer(type)) {
      const int8_t* q = static_cast<const int8_t*>(a.q) + rows.index(i) * d;
      state.q_scales[at] = a.q_scales[rows.index(i)];
      state.q_sums[at] = 0;
      for (uint32_t k = 0; k < d; ++k) state.q_sums[at] += q[k];
    }
  }
}

template <class S>
void finish_rows(const AttentionRows& rows, const AttentionState& state) {
  for (uint32_t i = 0; i < rows.count(); ++i) {
    float* o = rows.a.out + rows.index(i) * rows.a.head_dim;
    const typename S::F denominator = S::set1(state.denominators[rows.state(i)]);
    for (uint32_t j = 0; j < rows.a.head_dim; j += 16) S::store(o + j, S::div(S::load(o + j), denominator));
  }
}

// Block by block, in it head by head: so far as heads lie one after the other, they are read as one stream.
template <class S, KvType type>
void attention_of(const AttentionTask& a) {
  const KvBlockLayout layout = kv_block_layout(type, a.head_dim);
  const uint32_t count = a.tokens * a.group, last = a.position + a.tokens - 1;
  AttentionState& state = *reinterpret_cast<AttentionState*>(a.scratch);
  for (uint32_t i = a.heads * count; i < a.heads * count + kLaneRows; ++i)
    state.maxima[i] = state.denominators[i] = state.q_scales[i] = 0;
  for (uint32_t h = 0; h < a.heads; ++h) begin_rows<S, type>({a, h}, state);
  for (uint32_t start = 0; start <= last; start += kKvBlock) {
    const uint8_t* page = a.pages[start / kKvBlock] + a.offset;
    const uint8_t* next = start + kKvBlock <= last ? a.pages[start / kKvBlock + 1] + a.offset : a.next;
    const uint32_t tokens = last - start + 1 < kKvBlock ? last - start + 1 : kKvBlock;
    // Rows whose token lies before this block are done: `begin` is the first that is not.
    const uint32_t begin = start > a.position ? (start - a.position) * a.group : 0;
    for (uint32_t h = 0; h < a.heads; ++h) {
      const bool beside = h + 1 < a.heads;  // the next one lies beside this one, and is as long
      const uint8_t *block = page + h * layout.bytes, *ahead = beside ? block + layout.bytes : next ? next : block;
      AttentionBlock<S, type>{{a, h}, layout, state, block, start, tokens, ahead, beside ? tokens : kKvBlock}.run(begin, count);
    }
  }
  for (uint32_t h = 0; h < a.heads; ++h) finish_rows<S>({a, h}, state);
}

template <class S>
void attention_simd(const AttentionTask& a) {
  if (a.type == KvType::int8) return attention_of<S, KvType::int8>(a);
  if (a.type == KvType::int4) return attention_of<S, KvType::int4>(a);
  if (a.type == KvType::bf16) return attention_of<S, KvType::bf16>(a);
  attention_of<S, KvType::f32>(a);
}

}  // namespace
}  // namespace q3e
