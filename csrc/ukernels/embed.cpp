#include "ukernels/embed.h"

#include <cstring>

#include "base/half.h"

namespace q3e {
namespace {

float half_at(const uint8_t* plane, size_t i) {
  uint16_t h;
  std::memcpy(&h, plane + 2 * i, 2);
  return f32_from_f16(h);
}

}  // namespace

void embed_row(const MatrixView& w, uint32_t row, float* out) {
  const PanelLayout& at = w.layout;
  const uint8_t* panel = w.data + row / kPanelRows * at.bytes;
  const uint8_t* quants = panel + at.quants;
  const uint32_t r = row % kPanelRows, block = w.format->block;
  switch (w.format->kind) {
    case FormatKind::vector:
      return;
    case FormatKind::f32:
      for (uint32_t k = 0; k < w.columns; ++k) std::memcpy(out + k, quants + (size_t{k} * kPanelRows + r) * 4, 4);
      return;
    case FormatKind::bf16:
      for (uint32_t k = 0; k < w.columns; ++k) {
        uint16_t h;
        std::memcpy(&h, quants + (size_t{k} * kPanelRows + r) * 2, 2);
        out[k] = f32_from_bf16(h);
      }
      return;
    case FormatKind::q8:
      for (uint32_t k = 0; k < w.columns; ++k) {
        const auto w8 = static_cast<int8_t>(quants[size_t{k / 4} * 64 + r * 4 + k % 4]);
        out[k] = half_at(panel + at.scale, size_t{k / block} * kPanelRows + r) * static_cast<float>(w8);
      }
      return;
    default:
      break;
  }
  const uint32_t groups = w.format->kind == FormatKind::q4z ? kSuperBlock / w.format->group : 0;
  for (uint32_t k = 0; k < w.columns; ++k) {
    const uint32_t b = k / block;
    const uint8_t pair = quants[size_t{k / 8} * 64 + r * 4 + k % 4];
    const int32_t q = k % 8 < 4 ? pair & 15 : pair >> 4;
    const float d = half_at(panel + at.scale, size_t{b} * kPanelRows + r);
    if (w.format->kind == FormatKind::q4g) {
      out[k] = d * static_cast<float>(q - 8);
    } else if (w.format->kind == FormatKind::q4a) {
      out[k] = d * static_cast<float>(q) + half_at(panel + at.minimum, size_t{b} * kPanelRows + r);
    } else {
      const uint32_t g = k % kSuperBlock / w.format->group;
      const int32_t s = (panel[at.sub_scale + (size_t{b} * kPanelRows + r) * (groups / 2) + g / 2] >> (g % 2 * 4) & 15) + 1;
      const auto z = static_cast<int8_t>(panel[at.sub_offset + (size_t{b} * groups / 4 + g / 4) * 64 + r * 4 + g % 4]);
      out[k] = d * static_cast<float>(static_cast<int8_t>(s * q + z));
    }
  }
}

}  // namespace q3e
