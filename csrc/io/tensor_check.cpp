#include "io/tensor_check.h"

#include <cstring>

namespace q3e {
namespace {

bool finite_f32(uint32_t bits) { return (bits & 0x7f800000u) != 0x7f800000u; }
bool finite_f16(uint16_t bits) { return (bits & 0x7c00u) != 0x7c00u; }
bool finite_bf16(uint16_t bits) { return (bits & 0x7f80u) != 0x7f80u; }

// Index of the first of n little-endian words that fails, or n.
template <typename T, typename Test>
uint64_t first_bad(const uint8_t* p, uint64_t n, Test ok) {
  for (uint64_t i = 0; i < n; ++i) {
    T v;
    std::memcpy(&v, p + i * sizeof v, sizeof v);
    if (!ok(v)) return i;
  }
  return n;
}

std::string place(uint64_t panel, uint64_t row, const char* unit, uint64_t index) {
  return " in row " + std::to_string(panel * kPanelRows + row) + ", " + unit + " " + std::to_string(index);
}

// The largest q of every row's group is all that is needed, since s >= 1 and z is the least w8.
std::string check_q4z(const BlockFormat& f, const PanelLayout& at, const uint8_t* panel, uint64_t index, uint32_t columns) {
  const uint32_t per_block = kSuperBlock / f.group;
  for (uint32_t g = 0; g < columns / f.group; ++g) {
    uint8_t largest[kPanelRows] = {};
    for (uint32_t o = g * f.group / 8; o < (g + 1) * f.group / 8; ++o)
      for (uint32_t r = 0; r < kPanelRows; ++r)
        for (uint32_t j = 0; j < 4; ++j) {
          const uint8_t byte = panel[at.quants + (size_t{o} * kPanelRows + r) * 4 + j];
          const uint8_t low = byte & 15, high = byte >> 4;
          const uint8_t q = low > high ? low : high;
          largest[r] = q > largest[r] ? q : largest[r];
        }
    const uint32_t block = g / per_block, in_block = g % per_block;
    for (uint32_t r = 0; r < kPanelRows; ++r) {
      uint32_t word = 0;
      const size_t width = f.group == 32 ? 4 : 2;
      std::memcpy(&word, panel + at.sub_scale + (size_t{block} * kPanelRows + r) * width, width);
      const int s = static_cast<int>((word >> (4 * in_block)) & 15u) + 1;
      const size_t quad = size_t{block} * (per_block / 4) + in_block / 4;
      const auto z = static_cast<int8_t>(panel[at.sub_offset + (quad * kPanelRows + r) * 4 + in_block % 4]);
      const int w8 = s * largest[r] + z;
      if (w8 > 127) return "s * q + z is " + std::to_string(w8) + place(index, r, "group", g) + ", expected at most 127";
    }
  }
  return {};
}

}  // namespace

std::string find_fault(const BlockFormat& f, const uint8_t* packed, uint64_t rows, uint32_t columns, uint64_t first_panel) {
  if (f.kind == FormatKind::vector) {
    const uint64_t bad = first_bad<uint32_t>(packed, columns, finite_f32);
    return bad == columns ? "" : "value " + std::to_string(bad) + " is not finite";
  }
  const PanelLayout at = panel_layout(f, columns);
  const uint64_t values = uint64_t{columns} * kPanelRows, scales = uint64_t{at.blocks} * kPanelRows;
  for (uint64_t i = 0; i < panel_count(rows); ++i) {
    const uint8_t* panel = packed + i * at.bytes;
    const uint64_t p = first_panel + i;
    if (f.kind == FormatKind::f32 || f.kind == FormatKind::bf16) {
      const uint64_t bad = f.kind == FormatKind::f32 ? first_bad<uint32_t>(panel + at.quants, values, finite_f32)
                                                     : first_bad<uint16_t>(panel + at.quants, values, finite_bf16);
      if (bad != values) return "a value is not finite" + place(p, bad % kPanelRows, "column", bad / kPanelRows);
      continue;
    }
    uint64_t bad = first_bad<uint16_t>(panel + at.scale, scales, finite_f16);
    if (bad != scales) return "a scale is not finite" + place(p, bad % kPanelRows, "block", bad / kPanelRows);
    if (f.kind == FormatKind::q4a) {
      bad = first_bad<uint16_t>(panel + at.minimum, scales, finite_f16);
      if (bad != scales) return "a minimum is not finite" + place(p, bad % kPanelRows, "block", bad / kPanelRows);
    }
    if (f.kind == FormatKind::q4z)
      if (const std::string fault = check_q4z(f, at, panel, p, columns); !fault.empty()) return fault;
  }
  return {};
}

}  // namespace q3e
