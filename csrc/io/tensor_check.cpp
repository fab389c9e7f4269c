#include "io/tensor_check.h"

#include <algorithm>
#include <cstring>

#include "ukernels/panel_row.h"

namespace q3e {
namespace {

constexpr uint32_t kF32Exponent = 0x7f800000u;
constexpr uint16_t kF16Exponent = 0x7c00u, kBf16Exponent = 0x7f80u;

// Index of the first of n little-endian floats whose exponent has all its bits, which no number has; or n.
template <typename T>
uint64_t first_not_finite(const uint8_t* p, uint64_t n, T exponent) {
  for (uint64_t i = 0; i < n; ++i) {
    T v;
    std::memcpy(&v, p + i * sizeof v, sizeof v);
    if ((v & exponent) == exponent) return i;
  }
  return n;
}

std::string place(uint64_t panel, uint64_t row, const char* unit, uint64_t index) {
  return " in row " + std::to_string(panel * kPanelRows + row) + ", " + unit + " " + std::to_string(index);
}

static_assert(std::all_of(std::begin(kKinds), std::end(kKinds),
                          [](const KindTraits& t) { return !t.sub_offset || t.weight == 4; }));

// Whether s * q + z stays in int8. The largest q of every row's group is all that is needed, since s >= 1 and z is the least w8.
std::string check_codes(const BlockFormat& f, const PanelLayout& at, const uint8_t* panel, uint64_t index, uint32_t columns) {
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
    for (uint32_t r = 0; r < kPanelRows; ++r) {
      const PanelRow row{f, at, panel, r};
      const int w8 = row.s(g) * largest[r] + row.z(g);
      if (w8 > 127) return "s * q + z is " + std::to_string(w8) + place(index, r, "group", g) + ", expected at most 127";
    }
  }
  return {};
}

}  // namespace

std::string find_fault(const BlockFormat& f, const uint8_t* packed, uint64_t rows, uint32_t columns, uint64_t first_panel) {
  if (f.kind == FormatKind::vector) {
    const uint64_t bad = first_not_finite(packed, columns, kF32Exponent);
    return bad == columns ? "" : "value " + std::to_string(bad) + " is not finite";
  }
  const PanelLayout at = panel_layout(f, columns);
  const uint64_t values = uint64_t{columns} * kPanelRows, scales = uint64_t{at.blocks} * kPanelRows;
  for (uint64_t i = 0; i < panel_count(rows); ++i) {
    const uint8_t* panel = packed + i * at.bytes;
    const uint64_t p = first_panel + i;
    if (f.block == 0) {
      const uint64_t bad = f.kind == FormatKind::f32 ? first_not_finite(panel + at.quants, values, kF32Exponent)
                                                     : first_not_finite(panel + at.quants, values, kBf16Exponent);
      if (bad != values) return "a value is not finite" + place(p, bad % kPanelRows, "column", bad / kPanelRows);
      continue;
    }
    uint64_t bad = first_not_finite(panel + at.scale, scales, kF16Exponent);
    if (bad != scales) return "a scale is not finite" + place(p, bad % kPanelRows, "block", bad / kPanelRows);
    bad = traits(f.kind).minimum ? first_not_finite(panel + at.minimum, scales, kF16Exponent) : scales;
    if (bad != scales) return "a minimum is not finite" + place(p, bad % kPanelRows, "block", bad / kPanelRows);
    if (traits(f.kind).sub_offset)
      if (const std::string fault = check_codes(f, at, panel, p, columns); !fault.empty()) return fault;
  }
  return {};
}

}  // namespace q3e
