// What every attention kernel keeps of a task's rows, and the order in which it walks the cache.
#pragma once

#include "ukernels/kernels.h"

namespace q3e {
namespace {

inline constexpr uint32_t kBlockPanels = kKvBlock / kPanelRows;
inline constexpr uint32_t kLaneRows = 16;  // rows of a strip at most: their scalars are lanes of one vector

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
};

template <class S, bool rounded>
void begin_head(const AttentionRows& rows, AttentionState& state) {
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
    if constexpr (rounded) {
      const int8_t* q = static_cast<const int8_t*>(a.q) + rows.index(i) * d;
      state.q_scales[at] = a.q_scales[rows.index(i)];
      int32_t sum = 0;  // not in memory, which `q` might alias: then no loop over bytes becomes vectors
      for (uint32_t k = 0; k < d; ++k) sum += q[k];
      state.q_sums[at] = sum;
    }
  }
}

template <class S>
void finish_head(const AttentionRows& rows, const AttentionState& state) {
  for (uint32_t i = 0; i < rows.count(); ++i) {
    float* o = rows.a.out + rows.index(i) * rows.a.head_dim;
    const typename S::F denominator = S::set1(state.denominators[rows.state(i)]);
    for (uint32_t j = 0; j < rows.a.head_dim; j += 16) S::store(o + j, S::div(S::load(o + j), denominator));
  }
}

// rounded: whether queries are int8.
template <class S, bool rounded>
void begin_rows(const AttentionTask& a, AttentionState& state) {
  const uint32_t count = a.heads * a.tokens * a.group;
  for (uint32_t i = count; i < count + kLaneRows; ++i) state.maxima[i] = state.denominators[i] = state.q_scales[i] = 0;
  for (uint32_t h = 0; h < a.heads; ++h) begin_head<S, rounded>({a, h}, state);
}

template <class S>
void finish_rows(const AttentionTask& a, const AttentionState& state) {
  for (uint32_t h = 0; h < a.heads; ++h) finish_head<S>({a, h}, state);
}

// One KV head's share of a page.
struct CacheBlock {
  uint32_t head, start, tokens;  // positions [start, start + tokens)
  uint32_t begin;                // the head's first row whose token does not lie before them: the others are done
  const uint8_t* data;
  const uint8_t* ahead;   // the block that is read next,
  uint32_t ahead_tokens;  // and how much of it
};

// Block by block, in it head by head: so far as heads lie one after the other, they are read as one stream.
template <class Visit>
void for_each_block(const AttentionTask& a, const KvBlockLayout& layout, Visit&& visit) {
  const uint32_t last = a.position + a.tokens - 1;
  for (uint32_t start = 0; start <= last; start += kKvBlock) {
    const uint8_t* page = a.pages[start / kKvBlock] + a.offset;
    const uint8_t* next = start + kKvBlock <= last ? a.pages[start / kKvBlock + 1] + a.offset : a.next;
    const uint32_t tokens = last - start + 1 < kKvBlock ? last - start + 1 : kKvBlock;
    const uint32_t begin = start > a.position ? (start - a.position) * a.group : 0;
    for (uint32_t h = 0; h < a.heads; ++h) {
      const bool beside = h + 1 < a.heads;  // the next one lies beside this one, and is as long
      const uint8_t *data = page + h * layout.bytes, *ahead = beside ? data + layout.bytes : next ? next : data;
      visit(CacheBlock{h, start, tokens, begin, data, ahead, beside ? tokens : kKvBlock});
    }
  }
}

// o = o * correction + isum * scale, 16 dimensions of a row: what a block of integer values adds.
template <class S>
void add_block(float* o, typename S::I isum, float scale, float correction) {
  const typename S::F before = S::mul(S::load(o), S::set1(correction));
  S::store(o, S::fma(S::to_float(isum), S::set1(scale), before));
}

}  // namespace
}  // namespace q3e
