// A token's projections become its query and its entry of the KV cache, for any tier's vocabulary S.
#pragma once

#include <cstring>

#include "base/half.h"
#include "ukernels/kernels.h"
#include "ukernels/math_simd.h"
#include "ukernels/norm_simd.h"

namespace q3e {
namespace {

template <class S>
void add_bias_simd(const float* x, const float* bias, uint32_t n, float* y) {
  for (uint32_t i = 0; i < n; i += 16) S::store(y + i, bias ? S::add(S::load(x + i), S::load(bias + i)) : S::load(x + i));
}

// Where half of what is rotated is no multiple of 16, the last vectors reach into what is not theirs: it is written as it was,
// the upper one after the lower one, which may have changed its first lanes.
template <class S>
void rotate_head_simd(const RopeTask& t, const float* x, const float* bias, const float* weight, float* y) {
  const uint32_t half = t.rotated / 2;
  add_bias_simd<S>(x, bias, t.head_dim, y);
  if (weight) rmsnorm_simd<S>(y, weight, t.head_dim, t.eps, y);
  for (uint32_t i = 0; i < half; i += 16) {
    const typename S::F a = S::load(y + i), b = S::load(y + i + half);
    const typename S::F c = S::load(t.cos_sin + i), s = S::load(t.cos_sin + half + i);
    const typename S::F turned_a = S::fnma(b, s, S::mul(a, c)), turned_b = S::fma(a, s, S::mul(b, c));
    const uint32_t lanes = half - i;
    S::store(y + i, lanes < 16 ? S::first_lanes(turned_a, lanes, a) : turned_a);
    S::store(y + i + half, lanes < 16 ? S::first_lanes(turned_b, lanes, b) : turned_b);
  }
}

template <class S>
[[gnu::noinline]] void store_row_simd(KvType type, const float* y, uint32_t n, uint8_t* row, float* scale) {
  if (type == KvType::int8) {
    int32_t sum;
    quantize_block_simd<S>(y, n, reinterpret_cast<int8_t*>(row), scale, &sum);
  } else if (type == KvType::f32) {
    std::memcpy(row, y, size_t{n} * 4);
  } else {
    for (uint32_t i = 0; i < n; ++i) {
      const uint16_t h = bf16_from_f32(y[i]);
      std::memcpy(row + 2 * i, &h, 2);
    }
  }
}

// Codes of n values and their scale.
template <class S>
void quantize_codes_simd(const float* y, uint32_t n, int8_t* codes, float* scale) {
  typename S::F top = S::zero();
  for (uint32_t i = 0; i < n; i += 16) top = S::max(S::abs(S::load(y + i)), top);
  const float amax = S::fold_max(top);
  const typename S::F inverse = S::set1(amax > 0 ? 7.5f / amax : 0.0f), middle = S::set1(7.5f), most = S::set1(15.0f);
  for (uint32_t i = 0; i < n; i += 16)
    S::store_s8(codes + i, S::to_int(S::min(S::max(S::fma(S::load(y + i), inverse, middle), S::zero()), most)));
  *scale = amax / 15.0f;
}

// One token's key goes into a panel of 16 tokens: units of `unit` bytes, 16 of them apart.
template <int unit>
void scatter_key(const uint8_t* packed, size_t bytes, uint8_t* at) {
  for (size_t i = 0; i < bytes; i += unit, at += unit * kPanelRows) std::memcpy(at, packed + i, unit);
}

template <class S>
void store_key_simd(KvType type, const float* y, uint32_t d, uint8_t* keys, float* scale, uint32_t row) {
  alignas(64) uint8_t packed[kMaxHeadDim * 4];
  store_row_simd<S>(type, y, d, packed, scale);
  const size_t width = kv_bytes(type, 1);
  uint8_t* panel = keys + size_t{row / kPanelRows} * kPanelRows * d * width;
  if (type == KvType::bf16)
    scatter_key<2>(packed, d * width, panel + row % kPanelRows * 2);
  else
    scatter_key<4>(packed, d * width, panel + row % kPanelRows * 4);
}

// One token's bytes of quads of tokens. Bytes, because another thread may write the quads' other tokens.
[[gnu::noinline]] static inline void scatter_value(const uint8_t* packed, uint32_t bytes, uint8_t* at) {
  for (uint32_t i = 0; i < bytes; ++i) at[i * 4] = packed[i];
}

// Its value is a row, or the bytes `row` % 4 of quads of tokens.
template <class S>
void store_value_simd(KvType type, const float* y, uint32_t d, uint8_t* values, float* scale, uint32_t row) {
  if (!is_integer(type)) {
    store_row_simd<S>(type, y, d, values + kv_bytes(type, size_t{row} * d), scale);
    return;
  }
  alignas(64) uint8_t packed[kMaxHeadDim];
  if (type == KvType::int4) {
    quantize_codes_simd<S>(y, d, reinterpret_cast<int8_t*>(packed), scale);
    for (uint32_t i = 0; i < d / 2; i += 16)
      for (uint32_t lane = 0; lane < 16; ++lane)
        packed[i + lane] = static_cast<uint8_t>(packed[2 * i + lane] | packed[2 * i + 16 + lane] << 4);
    return scatter_value(packed, d / 2, values + size_t{row / 4} * d * 2 + row % 4);
  }
  store_row_simd<S>(type, y, d, packed, scale);
  scatter_value(packed, d, values + size_t{row / 4} * d * 4 + row % 4);
}

template <class S>
void qk_norm_rope_simd(const RopeTask& t) {
  const uint32_t d = t.head_dim;
  const float root = query_scale(d);
  const KvBlockLayout layout = kv_block_layout(t.type, d);
  alignas(64) float y[kMaxHeadDim];
  const uint32_t group = t.heads / t.kv_heads, last = t.first + t.count;
  for (uint32_t h = t.first * group; h < last * group; ++h) {
    const size_t at = size_t{h} * d;
    rotate_head_simd<S>(t, t.queries + h * t.query_stride, t.q_bias ? t.q_bias + at : nullptr, t.q_weight, y);
    if (rounds_queries(t.type)) {
      store_row_simd<S>(KvType::int8, y, d, static_cast<uint8_t*>(t.q) + at, t.q_scales + h);
      t.q_scales[h] *= root;
    } else {
      for (uint32_t i = 0; i < d; i += 16) S::store(static_cast<float*>(t.q) + at + i, S::mul(S::load(y + i), S::set1(root)));
    }
  }
  for (uint32_t h = t.first; h < last; ++h) {
    uint8_t* block = t.page + h * layout.bytes;
    const size_t at = size_t{h} * d;
    float* key_scales = reinterpret_cast<float*>(block + layout.key_scales);
    float* value_scales = reinterpret_cast<float*>(block + layout.value_scales);
    rotate_head_simd<S>(t, t.keys + at, t.k_bias ? t.k_bias + at : nullptr, t.k_weight, y);
    if (packs_keys(t.type))
      store_key_simd<S>(KvType::bf16, y, d, t.open_keys + h * open_keys_bytes(d), nullptr, t.row);
    else
      store_key_simd<S>(t.type, y, d, block + layout.keys, key_scales + t.row, t.row);
    add_bias_simd<S>(t.values + at, t.v_bias ? t.v_bias + at : nullptr, d, y);
    store_value_simd<S>(t.type, y, d, block + layout.values, value_scales + t.row, t.row);
  }
}

}  // namespace
}  // namespace q3e
