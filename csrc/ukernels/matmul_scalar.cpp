#include "ukernels/kernels.h"
#include "ukernels/math_scalar.h"
#include "ukernels/panel_row.h"

namespace q3e {
namespace {

float dot_float(const PanelRow& w, uint32_t columns, const float* x) {
  float acc = 0;
  for (uint32_t k = 0; k < columns; ++k) acc = fma_f32(w.value(k), x[k], acc);
  return acc;
}

float dot_quantized(const PanelRow& w, const Activations& a) {
  float acc = 0;
  for (uint32_t b = 0; b < w.at.blocks; ++b) {
    const uint32_t end = (b + 1) * a.block < a.columns ? (b + 1) * a.block : a.columns;
    int32_t isum = 0;
    for (uint32_t k = b * a.block; k < end; ++k) isum += static_cast<int8_t>(w.integer(k)) * a.quants[k];
    acc = fma_f32(static_cast<float>(isum), w.scale(b) * a.scales[b], acc);
    if (traits(w.format.kind).minimum) acc = fma_f32(static_cast<float>(a.sums[b]), w.minimum(b) * a.scales[b], acc);
  }
  return acc;
}

}  // namespace

void matmul_scalar(const MatrixView& w, uint32_t first, uint32_t last, const Activations& a, float* out, size_t out_stride,
                   uint8_t*) {
  for (uint32_t p = first; p < last; ++p)
    for (uint32_t t = 0; t < a.tokens; ++t)
      for (uint32_t r = 0; r < kPanelRows; ++r) {
        const PanelRow row{*w.format, w.layout, w.data + p * w.layout.bytes, r};
        const Activations token = slice(a, t, 1);
        out[t * out_stride + (p - first) * kPanelRows + r] =
            w.format->block == 0 ? dot_float(row, w.columns, token.values) : dot_quantized(row, token);
      }
}

}  // namespace q3e
