// Attention of the query heads that share a KV head, for any tier's vocabulary S. Keys are panels of 16 tokens, so scores are
// a matmul with tokens as lanes; values are rows of dimensions, so the weighted sum has dimensions as lanes.
#pragma once

#include "ukernels/kernels.h"
#include "ukernels/math_simd.h"
#include "ukernels/matmul_simd.h"

namespace q3e {
namespace {

inline constexpr uint32_t kBlockPanels = kKvBlock / kPanelRows;

template <KvType type>
inline constexpr size_t kKvWidth = type == KvType::int8   ? 1
                                   : type == KvType::bf16 ? 2
                                                          : 4;

template <class S, KvType type>
typename S::F load_kv(const uint8_t* p) {
  if constexpr (type == KvType::int8) return S::load_s8(p);
  if constexpr (type == KvType::bf16) return S::load_bf16(p);
  if constexpr (type == KvType::f32) return S::load(reinterpret_cast<const float*>(p));
}

// The rows of a task: row i is token i / group, head i % group of the group.
struct AttentionRows {
  const AttentionTask& a;
  size_t index(uint32_t i) const { return i / a.group * a.q_stride + i % a.group; }
  uint32_t position(uint32_t i) const { return a.position + i / a.group; }
};

// scores[row][NP panels of 16] for NR rows from `row` on. `ahead` is where the same keys of the next block lie, or null.
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
      for (int p = 0; p < NP; ++p) acc[i][p] = S::izero();
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
      for (int p = 0; p < NP; ++p) {
        const typename S::I isum = S::isub(acc[i][p], S::iset1(S::kSignedBias * q_sums[row + i]));
        const typename S::F scale = S::mul(S::set1(a.q_scales[rows.index(row + i)]), S::load(key_scales + p * kPanelRows));
        S::store(scores + size_t(i) * kKvBlock + p * kPanelRows, S::mul(S::to_float(isum), scale));
      }
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

// Scores of one row become weights exp(s - m), zero from `valid` on; returns what the sums so far are multiplied with.
template <class S>
float softmax_block(float* scores, uint32_t valid, float* maximum, float* denominator) {
  typename S::F s[kBlockPanels], top = S::set1(*maximum);
  for (uint32_t j = 0; j < kBlockPanels; ++j) {
    const uint32_t n = valid > j * 16 ? valid - j * 16 : 0;
    s[j] = S::first_lanes(S::load(scores + j * 16), n, S::set1(-1e30f));
    top = S::max(s[j], top);
  }
  const float m = S::fold_max(top);
  typename S::F sum = S::zero();
  for (uint32_t j = 0; j < kBlockPanels; ++j) {
    const uint32_t n = valid > j * 16 ? valid - j * 16 : 0;
    const typename S::F p = S::first_lanes(exp_simd<S>(S::sub(s[j], S::set1(m))), n, S::zero());
    S::store(scores + j * 16, p);
    sum = S::add(sum, p);
  }
  float corrections[16];
  S::store(corrections, exp_simd<S>(S::set1(*maximum - m)));
  *maximum = m;
  *denominator = __builtin_fmaf(*denominator, corrections[0], S::fold(sum));
  return corrections[0];
}

// o[row] = o[row] * correction[row] + weights[row] . values, for NR rows and NV vectors of dimensions.
template <class S, KvType type, int NR, int NV>
void weigh_values(const AttentionRows& rows, const uint8_t* values, uint32_t tokens, uint32_t row, const float* weights,
                  const float* corrections, const uint8_t* ahead, uint32_t dim) {
  const AttentionTask& a = rows.a;
  typename S::F acc[NR][NV];
  float* o[NR];
  for (int i = 0; i < NR; ++i) {
    o[i] = a.out + rows.index(row + i) * a.head_dim + dim;
    for (int j = 0; j < NV; ++j) acc[i][j] = S::mul(S::load(o[i] + j * 16), S::set1(corrections[row + i]));
  }
  for (uint32_t t = 0; t < tokens; ++t) {
    typename S::F v[NV];
    for (int j = 0; j < NV; ++j) v[j] = load_kv<S, type>(values + (size_t{t} * a.head_dim + dim + j * 16) * kKvWidth<type>);
    if (ahead) S::prefetch(ahead + (size_t{t} * a.head_dim + dim) * kKvWidth<type>);
    for (int i = 0; i < NR; ++i) {
      const typename S::F p = S::set1(weights[size_t{row + i} * kKvBlock + t]);
      for (int j = 0; j < NV; ++j) acc[i][j] = S::fma(v[j], p, acc[i][j]);
    }
  }
  for (int i = 0; i < NR; ++i)
    for (int j = 0; j < NV; ++j) S::store(o[i] + j * 16, acc[i][j]);
}

template <class S, KvType type>
void attention_of(const AttentionTask& a) {
  const uint32_t d = a.head_dim, count = a.tokens * a.group;
  const AttentionRows rows{a};
  const KvBlockLayout layout = kv_block_layout(type, d);
  float* scores = reinterpret_cast<float*>(a.scratch);  // [count][kKvBlock]
  float* maxima = scores + size_t{kMaxGroup} * kKvBlock;
  float *denominators = maxima + kMaxGroup, *corrections = denominators + kMaxGroup;
  int32_t* q_sums = reinterpret_cast<int32_t*>(corrections + kMaxGroup);
  for (uint32_t i = 0; i < count; ++i) {
    float* o = a.out + rows.index(i) * d;
    for (uint32_t j = 0; j < d; j += 16) S::store(o + j, S::zero());
    maxima[i] = -1e30f;
    denominators[i] = 0;
    q_sums[i] = 0;
    if constexpr (type == KvType::int8) {
      const int8_t* q = static_cast<const int8_t*>(a.q) + rows.index(i) * d;
      for (uint32_t k = 0; k < d; ++k) q_sums[i] += q[k];
    }
  }
  const uint32_t last = a.position + a.tokens - 1;
  for (uint32_t start = 0; start <= last; start += kKvBlock) {
    const uint8_t* block = a.pages[start / kKvBlock] + a.offset;
    const float* key_scales = reinterpret_cast<const float*>(block + layout.key_scales);
    const float* value_scales = reinterpret_cast<const float*>(block + layout.value_scales);
    const uint32_t tokens = last - start + 1 < kKvBlock ? last - start + 1 : kKvBlock;
    // Rows whose token lies before this block are done: `begin` is the first that is not.
    const uint32_t begin = start > a.position ? (start - a.position) * a.group : 0;
    // Rows are many in a prefill, which computes more than it reads; in decode the next block comes while this one is scored.
    const uint8_t* ahead = count <= S::kTileRows && start + kKvBlock <= last ? a.pages[start / kKvBlock + 1] + a.offset : nullptr;
    const uint32_t panels = (tokens + kPanelRows - 1) / kPanelRows;
    for (uint32_t panel = 0; panel < panels; panel += S::kTilePanels)
      for (uint32_t row = begin; row < count; row += S::kTileRows) {
        const int nr = count - row < S::kTileRows ? static_cast<int>(count - row) : S::kTileRows;
        const int np = panels - panel < S::kTilePanels ? static_cast<int>(panels - panel) : S::kTilePanels;
        const size_t offset = layout.keys + size_t{panel} * kPanelRows * d * kKvWidth<type>;
        with_count<S::kTileRows>(nr, [&]<int NR>() {
          with_count<S::kTilePanels>(np, [&]<int NP>() {
            score_panels<S, type, NR, NP>(rows, block + offset, key_scales + panel * kPanelRows, row, q_sums,
                                          ahead ? ahead + offset : nullptr, scores + size_t{row} * kKvBlock + panel * kPanelRows);
          });
        });
      }
    for (uint32_t row = begin; row < count; ++row) {
      float* s = scores + size_t{row} * kKvBlock;
      const uint32_t seen = rows.position(row) - start + 1;
      corrections[row] = softmax_block<S>(s, seen < kKvBlock ? seen : kKvBlock, maxima + row, denominators + row);
      if constexpr (type == KvType::int8)
        for (uint32_t t = 0; t < kKvBlock; t += 16) S::store(s + t, S::mul(S::load(s + t), S::load(value_scales + t)));
    }
    for (uint32_t row = begin; row < count; row += S::kTileRows) {
      const int n = count - row < S::kTileRows ? static_cast<int>(count - row) : S::kTileRows;
      with_count<S::kTileRows>(n, [&]<int NR>() {
        uint32_t dim = 0;
        for (; dim + S::kTileVectors * 16 <= d; dim += S::kTileVectors * 16)
          weigh_values<S, type, NR, S::kTileVectors>(rows, block + layout.values, tokens, row, scores, corrections,
                                                     ahead ? ahead + layout.values : nullptr, dim);
        for (; dim < d; dim += 16)
          weigh_values<S, type, NR, 1>(rows, block + layout.values, tokens, row, scores, corrections, nullptr, dim);
      });
    }
  }
  for (uint32_t i = 0; i < count; ++i) {
    float* o = a.out + rows.index(i) * d;
    const typename S::F denominator = S::set1(denominators[i]);
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
