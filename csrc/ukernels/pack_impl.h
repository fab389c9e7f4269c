// The quantizers, once for every ISA: each pack_<isa>.cpp includes this file and is compiled with its own flags. Everything here
// has internal linkage. Rows are the lanes of a vector, so a row's arithmetic does not depend on the vector's width; with
// contraction off and every sum in ascending k, all ISAs write the same bytes. tests/reference/quantizers.py is the same
// algorithm in NumPy, compared by ==.
#pragma once

#include "ukernels/pack_q4z.h"
#include "ukernels/pack_q6z.h"
#include "ukernels/pack_scaled.h"

namespace q3e {
namespace {

// One block of kLanes rows. Planes are [..][16][bytes of a row]; `panel` is moved to the first row's place in each by `row`.
template <class Columns>
static inline void pack_block(const BlockFormat& f, const PanelLayout& at, const Lanes* w, Columns columns, uint32_t block,
                              uint32_t k, uint32_t n, uint32_t row, uint8_t* panel) {
  uint8_t* scale = panel + at.scale + size_t{block} * 32 + 2 * row;
  uint8_t* quants = panel + at.quants;
  switch (f.kind) {
    case FormatKind::vector:
      break;
    case FormatKind::f32:
      for (uint32_t i = 0; i < n; ++i) std::memcpy(quants + (size_t{k} + i) * 64 + 4 * row, &w[i], sizeof w[i]);
      break;
    case FormatKind::bf16:
      for (uint32_t i = 0; i < n; ++i) {
        uint16_t h[kLanes];
        for (uint32_t r = 0; r < kLanes; ++r) h[r] = bf16_from_f32(w[i][r]);
        std::memcpy(quants + (size_t{k} + i) * 32 + 2 * row, h, sizeof h);
      }
      break;
    case FormatKind::q8:
      pack_q8(w, n, columns, scale, quants + size_t{k} * 16 + 4 * row);
      break;
    case FormatKind::q4g:
      pack_q4g(w, n, columns, scale, quants + size_t{k} * 8 + 4 * row);
      break;
    case FormatKind::q4a:
      pack_q4a(w, n, columns, scale, panel + at.minimum + size_t{block} * 32 + 2 * row, quants + size_t{k} * 8 + 4 * row);
      break;
    case FormatKind::q4z:
      if (f.group == 32)
        pack_q4z<32>(w, n, columns, scale, panel + at.sub_scale + size_t{block} * 64 + 4 * row,
                     panel + at.sub_offset + size_t{block} * 128 + 4 * row, quants + size_t{k} * 8 + 4 * row);
      else
        pack_q4z<64>(w, n, columns, scale, panel + at.sub_scale + size_t{block} * 32 + 2 * row,
                     panel + at.sub_offset + size_t{block} * 64 + 4 * row, quants + size_t{k} * 8 + 4 * row);
      break;
    case FormatKind::q6z:
      pack_q6z(w, n, columns, scale, panel + at.sub_scale + size_t{block} * 128 + 4 * row, quants + size_t{k} * 12 + 4 * row);
      break;
  }
}

template <class Columns>
static inline bool pack_panel_by(const BlockFormat& f, SourceType type, const void* rows, uint32_t row_count, uint32_t columns,
                                 Columns weights, uint8_t* panel) {
  const PanelLayout at = panel_layout(f, columns);
  const float limit = traits(f.kind).limit;
  const uint32_t step = f.block ? f.block : kMostColumns;
  std::memset(panel, 0, at.quants);
  Lanes w[kMostColumns];
  for (uint32_t k = 0, block = 0; k < columns; k += step, ++block) {
    const uint32_t n = columns - k < step ? columns - k : step;
    for (uint32_t row = 0; row < kPanelRows; row += kLanes) {
      if (!load_block({type, rows, row_count, columns, row}, k, n, limit, w)) return false;
      pack_block(f, at, w, weights.from(k), block, k, n, row, panel);
    }
  }
  const size_t end = at.quants + size_t{columns} * kPanelRows * traits(f.kind).weight / 8;
  std::memset(panel + end, 0, at.bytes - end);
  return true;
}

static inline bool pack_panel(const BlockFormat& f, SourceType type, const void* rows, uint32_t row_count, uint32_t columns,
                              const float* importance, uint8_t* panel) {
  if (importance) return pack_panel_by(f, type, rows, row_count, columns, WeightedColumns{importance}, panel);
  return pack_panel_by(f, type, rows, row_count, columns, EqualColumns{}, panel);
}

}  // namespace
}  // namespace q3e
