#include "base/half.h"
#include "ukernels/kernels.h"
#include "ukernels/math_scalar.h"

namespace q3e {
namespace {

uint16_t load_u16(const uint8_t* plane, size_t i) {
  uint16_t v;
  __builtin_memcpy(&v, plane + 2 * i, 2);
  return v;
}

// The integer weight of row r at column k: w8, q - 8, q, s * q + z, or s * q + (4 - s) * c - 128.
int32_t integer_weight(const MatrixView& w, const uint8_t* panel, uint32_t r, uint32_t k) {
  const uint8_t* quants = panel + w.layout.quants;
  if (w.format->kind == FormatKind::q8) return static_cast<int8_t>(quants[size_t{k / 4} * 64 + r * 4 + k % 4]);
  if (w.format->kind == FormatKind::q6z) {
    const uint8_t* q6 = quants + size_t{k / 16} * 192 + r * 4 + k % 4;
    const uint32_t quad = k % 16 / 4;
    const int32_t q = quad < 3 ? q6[quad * 64] & 63 : q6[0] >> 6 | q6[64] >> 6 << 2 | q6[128] >> 6 << 4;
    const uint8_t sc = panel[w.layout.sub_scale + size_t{k / 128} * 64 + r * 4 + k / 32 % 4];
    const int32_t s = (sc & 3) + 1;
    return s * q + (4 - s) * (sc >> 2) - 128;
  }
  const uint8_t pair = quants[size_t{k / 8} * 64 + r * 4 + k % 4];
  const int32_t q = k % 8 < 4 ? pair & 15 : pair >> 4;
  if (w.format->kind == FormatKind::q4g) return q - 8;
  if (w.format->kind == FormatKind::q4a) return q;
  const uint32_t group = w.format->group, groups = kSuperBlock / group, b = k / kSuperBlock, g = k % kSuperBlock / group;
  const uint8_t* nibbles = panel + w.layout.sub_scale + (size_t{b} * kPanelRows + r) * (groups / 2);
  const int32_t s = (nibbles[g / 2] >> (g % 2 * 4) & 15) + 1;
  const int32_t z = static_cast<int8_t>(panel[w.layout.sub_offset + (size_t{b} * groups / 4 + g / 4) * 64 + r * 4 + g % 4]);
  return static_cast<int8_t>(s * q + z);
}

float dot_float(const MatrixView& w, const uint8_t* panel, uint32_t r, const float* x) {
  const uint8_t* weights = panel + w.layout.quants;
  float acc = 0;
  for (uint32_t k = 0; k < w.columns; ++k) {
    float v;
    if (w.format->kind == FormatKind::bf16)
      v = f32_from_bf16(load_u16(weights, size_t{k} * kPanelRows + r));
    else
      __builtin_memcpy(&v, weights + (size_t{k} * kPanelRows + r) * 4, 4);
    acc = fma_f32(v, x[k], acc);
  }
  return acc;
}

float dot_quantized(const MatrixView& w, const uint8_t* panel, uint32_t r, const Activations& a, uint32_t t) {
  const uint32_t block = w.format->block, blocks = w.layout.blocks;
  float acc = 0;
  for (uint32_t b = 0; b < blocks; ++b) {
    const uint32_t end = (b + 1) * block < w.columns ? (b + 1) * block : w.columns;
    int32_t isum = 0;
    for (uint32_t k = b * block; k < end; ++k) isum += integer_weight(w, panel, r, k) * a.quants[size_t{t} * a.stride + k];
    const float sa = a.scales[size_t{t} * blocks + b];
    acc = fma_f32(static_cast<float>(isum), f32_from_f16(load_u16(panel + w.layout.scale, b * kPanelRows + r)) * sa, acc);
    if (w.format->kind == FormatKind::q4a) {
      const float m = f32_from_f16(load_u16(panel + w.layout.minimum, b * kPanelRows + r));
      acc = fma_f32(static_cast<float>(a.sums[size_t{t} * blocks + b]), m * sa, acc);
    }
  }
  return acc;
}

}  // namespace

void matmul_scalar(const MatrixView& w, uint32_t first, uint32_t last, const Activations& a, float* out, size_t out_stride,
                   uint8_t*) {
  for (uint32_t p = first; p < last; ++p) {
    const uint8_t* panel = w.data + p * w.layout.bytes;
    for (uint32_t t = 0; t < a.tokens; ++t)
      for (uint32_t r = 0; r < kPanelRows; ++r)
        out[t * out_stride + (p - first) * kPanelRows + r] =
            w.format->block == 0 ? dot_float(w, panel, r, a.values + size_t{t} * a.columns) : dot_quantized(w, panel, r, a, t);
  }
}

}  // namespace q3e
