// A row of a packed panel, weight by weight: the meaning of every format. The look-up of an embedding, the reference of matmul
// and the check of a file are built on it.
#pragma once

#include <cstring>

#include "base/half.h"
#include "ukernels/kernels.h"

namespace q3e {

struct PanelRow {
  const BlockFormat& format;
  const PanelLayout& at;
  const uint8_t* panel;
  uint32_t row;  // in the panel

  // The row's part of a plane [i][16], or of bytes [i][16][4].
  template <typename T>
  T load(size_t plane, size_t i) const {
    T v;
    std::memcpy(&v, panel + plane + (i * kPanelRows + row) * sizeof v, sizeof v);
    return v;
  }
  uint8_t byte(size_t plane, size_t i, uint32_t j) const { return panel[plane + (i * kPanelRows + row) * 4 + j]; }

  float scale(uint32_t block) const { return f32_from_f16(load<uint16_t>(at.scale, block)); }
  float minimum(uint32_t block) const { return f32_from_f16(load<uint16_t>(at.minimum, block)); }

  // q of four bits, and of six: three quads of k in the low six bits, the fourth in the two bits above each of the three.
  int32_t q4(uint32_t k) const {
    const uint8_t pair = byte(at.quants, k / 8, k % 4);
    return k % 8 < 4 ? pair & 15 : pair >> 4;
  }
  int32_t q6(uint32_t k) const {
    const size_t run = size_t{k / 16} * 3, quad = k % 16 / 4;
    const auto of = [&](size_t i) { return byte(at.quants, run + i, k % 4); };
    return quad < 3 ? of(quad) & 63 : of(0) >> 6 | of(1) >> 6 << 2 | of(2) >> 6 << 4;
  }
  // s and z of a group of q4z, counted from the row's first one.
  int32_t s(uint32_t group) const {
    const uint32_t groups = kSuperBlock / format.group, in_block = group % groups;
    const size_t word = at.sub_scale + (size_t{group / groups} * kPanelRows + row) * (groups / 2);
    return (panel[word + in_block / 2] >> (in_block % 2 * 4) & 15) + 1;
  }
  int32_t z(uint32_t group) const { return static_cast<int8_t>(byte(at.sub_offset, group / 4, group % 4)); }

  // What d multiplies: w8, q - 8, q, s * q + z, or s * q + (4 - s) * c - 128, which is always in int8, as s and 4 - s share a
  // weight of 4.
  int32_t integer(uint32_t k) const {
    const uint32_t group = k / format.group;
    switch (format.kind) {
      case FormatKind::q8:
        return static_cast<int8_t>(byte(at.quants, k / 4, k % 4));
      case FormatKind::q4g:
        return q4(k) - 8;
      case FormatKind::q4a:
        return q4(k);
      case FormatKind::q4z:
        return s(group) * q4(k) + z(group);
      case FormatKind::q6z: {
        const uint8_t sc = byte(at.sub_scale, group / 4, group % 4);
        const int32_t step = (sc & 3) + 1;
        return step * q6(k) + (4 - step) * (sc >> 2) - 128;
      }
      default:
        return 0;  // unquantized
    }
  }

  // The value of a weight as in docs/format.md, each operation rounded to float32.
  float value(uint32_t k) const {
    if (format.kind == FormatKind::f32) return load<float>(at.quants, k);
    if (format.kind == FormatKind::bf16) return f32_from_bf16(load<uint16_t>(at.quants, k));
    const uint32_t block = k / format.block;
    const float product = scale(block) * static_cast<float>(integer(k));
    return traits(format.kind).minimum ? product + minimum(block) : product;
  }
};

}  // namespace q3e
