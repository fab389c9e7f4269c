#include "base/half.h"
#include "ukernels/kernels.h"
#include "ukernels/math_scalar.h"

namespace q3e {
namespace {

float load_float(KvType type, const uint8_t* p, size_t i) {
  if (type == KvType::int8) return static_cast<float>(static_cast<int8_t>(p[i]));
  uint16_t h;
  float f;
  if (type == KvType::bf16) {
    __builtin_memcpy(&h, p + 2 * i, 2);
    return f32_from_bf16(h);
  }
  __builtin_memcpy(&f, p + 4 * i, 4);
  return f;
}

// q . key of token `t` of panels of float keys.
float score_float(KvType type, const uint8_t* keys, const float* q, uint32_t d, uint32_t t) {
  const size_t panel = size_t{t / kPanelRows} * kPanelRows * d, r = t % kPanelRows;
  float acc = 0;
  for (uint32_t i = 0; i < d; ++i) acc = fma_f32(load_float(type, keys, panel + size_t{i} * kPanelRows + r), q[i], acc);
  return acc;
}

// The same of int8 keys, without the scale of q.
float score_integers(const KvBlockLayout& layout, const uint8_t* block, const int8_t* q, uint32_t d, uint32_t t) {
  const uint8_t* panel = block + layout.keys + size_t{t / kPanelRows} * kPanelRows * d;
  int32_t isum = 0;
  for (uint32_t i = 0; i < d; ++i) isum += q[i] * static_cast<int8_t>(panel[size_t{i / 4} * 64 + t % kPanelRows * 4 + i % 4]);
  return static_cast<float>(isum) * load_float(KvType::f32, block + layout.key_scales, t);
}

// Of a page of packed keys: sum q ((2 c - 15) scale + middle), with q * scale rounded to int8, anew for every page.
void score_codes(const KvBlockLayout& layout, const uint8_t* block, const float* q, uint32_t d, float* scores) {
  float scaled[kMaxHeadDim], lanes[16] = {}, scale;
  int8_t rounded[kMaxHeadDim];
  int32_t sum;
  for (uint32_t i = 0; i < d; ++i) {
    scaled[i] = q[i] * load_float(KvType::f32, block + layout.key_scales, i);
    lanes[i % 16] = fma_f32(q[i], load_float(KvType::f32, block + layout.key_scales, d + i), lanes[i % 16]);
  }
  quantize_scalar(scaled, d, d, rounded, &scale, &sum);
  const float middle = fold_lanes(lanes);
  for (uint32_t t = 0; t < kKvBlock; ++t) {
    const uint8_t* panel = block + layout.keys + size_t{t / kPanelRows} * kPanelRows * d / 2;
    int32_t isum = 0;
    for (uint32_t i = 0; i < d; ++i) {
      const uint8_t pair = panel[size_t{i / 8} * 64 + t % kPanelRows * 4 + i % 4];
      isum += rounded[i] * (2 * (i % 8 < 4 ? pair & 15 : pair >> 4) - 15);
    }
    scores[t] = fma_f32(static_cast<float>(isum), scale, middle);
  }
}

// Scores of a query row against the first n tokens of a block, without the scale of q. open_keys: of the row's own page, or null.
void score(const AttentionTask& a, const KvBlockLayout& layout, const uint8_t* block, const uint8_t* open_keys, size_t q_row,
           uint32_t n, float* scores) {
  const uint32_t d = a.head_dim;
  const size_t first = q_row * d;
  if (packs_keys(a.type) && !open_keys) return score_codes(layout, block, static_cast<const float*>(a.q) + first, d, scores);
  for (uint32_t t = 0; t < n; ++t)
    if (open_keys)
      scores[t] = score_float(KvType::bf16, open_keys, static_cast<const float*>(a.q) + first, d, t);
    else if (a.type == KvType::int8)
      scores[t] = score_integers(layout, block, static_cast<const int8_t*>(a.q) + first, d, t);
    else
      scores[t] = score_float(a.type, block + layout.keys, static_cast<const float*>(a.q) + first, d, t);
}

// o[d] = o * correction + p[n] . values
void weigh_float(const AttentionTask& a, const uint8_t* values, uint32_t n, const float* p, float correction, float* o) {
  const uint32_t d = a.head_dim;
  for (uint32_t i = 0; i < d; ++i) o[i] *= correction;
  for (uint32_t t = 0; t < n; ++t)
    for (uint32_t i = 0; i < d; ++i) o[i] = fma_f32(load_float(a.type, values, size_t{t} * d + i), p[t], o[i]);
}

// Value i of token t as an integer.
int32_t integer_value(KvType type, const uint8_t* values, uint32_t d, uint32_t t, uint32_t i) {
  if (type == KvType::int8) return static_cast<int8_t>(values[(size_t{t / 4} * d + i) * 4 + t % 4]);
  const uint8_t pair = values[size_t{t / 4} * d * 2 + i / 32 * 64 + i % 16 * 4 + t % 4];
  return 2 * (i % 32 < 16 ? pair & 15 : pair >> 4) - 15;
}

// The same with weights p * scales rounded to integers, relative to the largest.
void weigh_integers(const AttentionTask& a, const uint8_t* values, const float* scales, uint32_t n, const float* p,
                    float correction, float* o) {
  const uint32_t d = a.head_dim;
  float top = 0;
  for (uint32_t t = 0; t < n; ++t) top = max_f32(p[t] * scales[t], top);
  top = max_f32(top, kLeastWeight);
  const float inverse = kLargestWeight / top, scale = top * (1 / kLargestWeight);
  int32_t w[kKvBlock];
  for (uint32_t t = 0; t < n; ++t) w[t] = static_cast<int32_t>(round_f32(p[t] * scales[t] * inverse));
  for (uint32_t i = 0; i < d; ++i) {
    int32_t isum = 0;
    for (uint32_t t = 0; t < n; ++t) isum += w[t] * integer_value(a.type, values, d, t, i);
    o[i] = fma_f32(static_cast<float>(isum), scale, o[i] * correction);
  }
}

// One query row against the cache up to `position`.
void attend_row(const AttentionTask& a, size_t q_row, uint32_t head, uint32_t position, float* o) {
  const uint32_t d = a.head_dim;
  const KvBlockLayout layout = kv_block_layout(a.type, d);
  const float q_scale = rounds_queries(a.type) ? a.q_scales[q_row] : 1.0f;
  float maximum = -1e30f, denominator = 0;
  for (uint32_t i = 0; i < d; ++i) o[i] = 0;
  for (uint32_t start = 0; start <= position; start += kKvBlock) {
    const uint8_t* block = a.pages[start / kKvBlock] + a.offset + head * layout.bytes;
    const uint32_t n = position - start + 1 < kKvBlock ? position - start + 1 : kKvBlock;
    const bool open = packs_keys(a.type) && start + kKvBlock > position;
    float p[kKvBlock], lanes[16] = {};
    score(a, layout, block, open ? a.open_keys + head * open_keys_bytes(d) : nullptr, q_row, n, p);
    float top = -1e30f;
    for (uint32_t t = 0; t < n; ++t) top = max_f32(p[t], top);
    const float m = max_f32(top * q_scale, maximum);
    const float correction = exp2_f32(maximum - m);
    for (uint32_t t = 0; t < n; ++t) {
      p[t] = exp2_f32(fma_f32(p[t], q_scale, -m));
      lanes[t % 16] += p[t];
    }
    denominator = fma_f32(denominator, correction, fold_lanes(lanes));
    maximum = m;
    if (is_integer(a.type))
      weigh_integers(a, block + layout.values, reinterpret_cast<const float*>(block + layout.value_scales), n, p, correction, o);
    else
      weigh_float(a, block + layout.values, n, p, correction, o);
  }
  for (uint32_t i = 0; i < d; ++i) o[i] /= denominator;
}

}  // namespace

void attention_scalar(const AttentionTask& a) {
  for (uint32_t t = 0; t < a.tokens; ++t)
    for (uint32_t h = 0; h < a.heads; ++h)
      for (uint32_t g = 0; g < a.group; ++g) {
        const size_t row = t * a.q_stride + h * a.group + g;
        attend_row(a, row, h, a.position + t, a.out + row * a.head_dim);
      }
}

}  // namespace q3e
