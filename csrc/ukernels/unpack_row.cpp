#include "ukernels/unpack_row.h"

#include <cstring>

#include "base/half.h"

namespace q3e {
namespace {

// The block's values of one row, given where it lies in its panel.
struct RowReader {
  const BlockFormat& format;
  PanelLayout at;
  const uint8_t* panel;
  uint32_t row;

  template <typename T>
  T load(size_t offset) const {
    T v;
    std::memcpy(&v, panel + offset, sizeof v);
    return v;
  }
  float half(size_t plane, uint32_t block) const {
    return f32_from_f16(load<uint16_t>(plane + (size_t{block} * kPanelRows + row) * 2));
  }
  int q4(uint32_t k) const {
    const uint8_t byte = panel[at.quants + (size_t{k / 8} * kPanelRows + row) * 4 + k % 4];
    return k % 8 < 4 ? byte & 15 : byte >> 4;
  }
  int w8(uint32_t k) const { return static_cast<int8_t>(panel[at.quants + (size_t{k / 4} * kPanelRows + row) * 4 + k % 4]); }
  int sub_scale(uint32_t group) const {
    const uint32_t per_block = kSuperBlock / format.group, in_block = group % per_block;
    const size_t index = size_t{group / per_block} * kPanelRows + row;
    const uint32_t word =
        format.group == 32 ? load<uint32_t>(at.sub_scale + index * 4) : load<uint16_t>(at.sub_scale + index * 2);
    return static_cast<int>((word >> (4 * in_block)) & 15u) + 1;
  }
  int sub_offset(uint32_t group) const {
    const uint32_t per_block = kSuperBlock / format.group, in_block = group % per_block;
    const size_t quad = size_t{group / per_block} * (per_block / 4) + in_block / 4;
    return load<int8_t>(at.sub_offset + (quad * kPanelRows + row) * 4 + in_block % 4);
  }

  // q of q6z: three quads of k in the low six bits, the fourth in the two bits above each of the three.
  int q6(uint32_t k) const {
    const uint8_t* bytes = panel + at.quants + size_t{k / 16} * 192 + row * 4 + k % 4;
    const uint32_t quad = k % 16 / 4;
    return quad < 3 ? bytes[quad * 64] & 63 : bytes[0] >> 6 | bytes[64] >> 6 << 2 | bytes[128] >> 6 << 4;
  }
  // The code of q6z: always in int8, as s and 4 - s share a weight of 4.
  int code6(uint32_t k) const {
    const uint32_t group = k / format.group;
    const uint8_t sc = panel[at.sub_scale + (size_t{group / 4} * kPanelRows + row) * 4 + group % 4];
    const int s = (sc & 3) + 1;
    return s * q6(k) + (4 - s) * (sc >> 2) - 128;
  }

  float value(uint32_t k) const {
    switch (format.kind) {
      case FormatKind::vector:
        return load<float>(size_t{k} * 4);
      case FormatKind::f32:
        return load<float>(at.quants + (size_t{k} * kPanelRows + row) * 4);
      case FormatKind::bf16:
        return f32_from_bf16(load<uint16_t>(at.quants + (size_t{k} * kPanelRows + row) * 2));
      case FormatKind::q8:
        return half(at.scale, k / format.block) * static_cast<float>(w8(k));
      case FormatKind::q4g:
        return half(at.scale, k / format.block) * static_cast<float>(q4(k) - 8);
      case FormatKind::q4a:
        return half(at.scale, k / format.block) * static_cast<float>(q4(k)) + half(at.minimum, k / format.block);
      case FormatKind::q4z:
        return half(at.scale, k / format.block) *
               static_cast<float>(sub_scale(k / format.group) * q4(k) + sub_offset(k / format.group));
      case FormatKind::q6z:
        return half(at.scale, k / format.block) * static_cast<float>(code6(k));
    }
    return 0;
  }
};

}  // namespace

void unpack_row(const MatrixView& w, uint32_t row, float* out) {
  const RowReader reader{*w.format, w.layout, w.data + row / kPanelRows * w.layout.bytes, row % kPanelRows};
  for (uint32_t k = 0; k < w.columns; ++k) out[k] = reader.value(k);
}

}  // namespace q3e
