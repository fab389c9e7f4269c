// A token's projections become its query and its entry of the KV cache.
#include <cmath>

#include "base/half.h"
#include "ukernels/kernels.h"
#include "ukernels/math_scalar.h"

namespace q3e {
namespace {

// Bias, RMSNorm and rotation of one head into y[head_dim].
void rotate_head(const RopeTask& t, const float* x, const float* bias, const float* weight, float* y) {
  const uint32_t d = t.head_dim, half = t.rotated / 2;
  for (uint32_t i = 0; i < d; ++i) y[i] = bias ? x[i] + bias[i] : x[i];
  if (weight) rmsnorm_scalar(y, weight, d, t.eps, y);
  const float *c = t.cos_sin, *s = t.cos_sin + half;
  for (uint32_t i = 0; i < half; ++i) {
    const float a = y[i], b = y[i + half];
    y[i] = fma_f32(-b, s[i], a * c[i]);
    y[i + half] = fma_f32(a, s[i], b * c[i]);
  }
}

void store_row(KvType type, const float* y, uint32_t n, uint8_t* row, float* scale) {
  if (type == KvType::int8) {
    int32_t sum;
    quantize_scalar(y, n, n, reinterpret_cast<int8_t*>(row), scale, &sum);
    return;
  }
  for (uint32_t i = 0; i < n; ++i) {
    const uint16_t h = bf16_from_f32(y[i]);
    if (type == KvType::bf16)
      __builtin_memcpy(row + 2 * i, &h, 2);
    else
      __builtin_memcpy(row + 4 * i, y + i, 4);
  }
}

// Codes of n values and their scale.
void quantize_codes(const float* y, uint32_t n, uint8_t* codes, float* scale) {
  float top = 0;
  for (uint32_t i = 0; i < n; ++i) top = max_f32(std::fabs(y[i]), top);
  const float inverse = top > 0 ? 7.5f / top : 0.0f;
  for (uint32_t i = 0; i < n; ++i)
    codes[i] = static_cast<uint8_t>(round_f32(min_f32(max_f32(fma_f32(y[i], inverse, 7.5f), 0.0f), 15.0f)));
  *scale = top / 15.0f;
}

// Element i of the key of token `row` in a block: see KvBlockLayout. Not for int4.
void store_key(KvType type, const float* y, uint32_t d, uint8_t* keys, float* scales, uint32_t row) {
  uint8_t packed[kMaxHeadDim * 4];
  store_row(type, y, d, packed, scales ? scales + row : nullptr);
  const size_t width = kv_bytes(type, 1);
  const size_t unit = type == KvType::int8 ? 4 : width;  // bytes of one row that lie side by side
  uint8_t* panel = keys + size_t{row / kPanelRows} * kPanelRows * d * width;
  for (size_t at = 0; at < d * width; at += unit)
    __builtin_memcpy(panel + at * kPanelRows + row % kPanelRows * unit, packed + at, unit);
}

// Likewise of its value.
void store_value(KvType type, const float* y, uint32_t d, uint8_t* values, float* scales, uint32_t row) {
  uint8_t packed[kMaxHeadDim];
  if (type == KvType::int4) {
    quantize_codes(y, d, packed, scales + row);
    for (uint32_t i = 0; i < d; i += 32)
      for (uint32_t lane = 0; lane < 16; ++lane)
        values[row / 4 * d * 2 + i * 2 + lane * 4 + row % 4] =
            static_cast<uint8_t>(packed[i + lane] | packed[i + 16 + lane] << 4);
    return;
  }
  if (type != KvType::int8) {
    store_row(type, y, d, values + kv_bytes(type, size_t{row} * d), nullptr);
    return;
  }
  store_row(type, y, d, packed, scales + row);
  for (size_t i = 0; i < d; ++i) values[(row / 4 * d + i) * 4 + row % 4] = packed[i];
}

}  // namespace

void clear_rows(KvType type, uint32_t d, uint32_t first, uint8_t* block) {
  const KvBlockLayout layout = kv_block_layout(type, d);
  const float zeros[kMaxHeadDim] = {};
  for (uint32_t row = first; row < kKvBlock; ++row) {
    store_key(type, zeros, d, block + layout.keys, reinterpret_cast<float*>(block + layout.key_scales), row);
    store_value(type, zeros, d, block + layout.values, reinterpret_cast<float*>(block + layout.value_scales), row);
  }
}

void qk_norm_rope_scalar(const RopeTask& t) {
  const uint32_t d = t.head_dim;
  const float root = query_scale(d);
  const KvBlockLayout layout = kv_block_layout(t.type, d);
  float y[kMaxHeadDim];
  const uint32_t group = t.heads / t.kv_heads, last = t.first + t.count;
  for (uint32_t h = t.first * group; h < last * group; ++h) {
    rotate_head(t, t.queries + h * t.query_stride, t.q_bias ? t.q_bias + size_t{h} * d : nullptr, t.q_weight, y);
    if (rounds_queries(t.type)) {
      store_row(KvType::int8, y, d, static_cast<uint8_t*>(t.q) + size_t{h} * d, t.q_scales + h);
      t.q_scales[h] *= root;
    } else {
      for (uint32_t i = 0; i < d; ++i) static_cast<float*>(t.q)[size_t{h} * d + i] = y[i] * root;
    }
  }
  for (uint32_t h = t.first; h < last; ++h) {
    uint8_t* block = t.page + h * layout.bytes;
    const size_t at = size_t{h} * d;
    float* key_scales = rounds_queries(t.type) ? reinterpret_cast<float*>(block + layout.key_scales) : nullptr;
    float* value_scales = is_integer(t.type) ? reinterpret_cast<float*>(block + layout.value_scales) : nullptr;
    rotate_head(t, t.keys + at, t.k_bias ? t.k_bias + at : nullptr, t.k_weight, y);
    if (packs_keys(t.type))
      store_key(KvType::bf16, y, d, t.open_keys + h * open_keys_bytes(d), nullptr, t.row);
    else
      store_key(t.type, y, d, block + layout.keys, key_scales, t.row);
    for (uint32_t i = 0; i < d; ++i) y[i] = t.v_bias ? t.values[at + i] + t.v_bias[at + i] : t.values[at + i];
    store_value(t.type, y, d, block + layout.values, value_scales, t.row);
  }
}

}  // namespace q3e
