#include "ukernels/pack.h"

#include <cstring>
#include <string>

#include "base/error.h"
#include "base/half.h"
#include "base/tiers.h"
#include "ukernels/unpack_row.h"

namespace q3e {
namespace {

constexpr uint64_t kMaxRows = uint64_t{1} << 31;
constexpr uint64_t kMaxColumns = uint64_t{1} << 24;
constexpr float kLeastImportance = 0x1p-20f, kMostImportance = 0x1p20f;  // sums of squares stay far from float32's ends

PackPanelFn* pack_panel_for(Isa isa) {
#if defined(Q3E_TIER_AVX2)
  if (isa == Isa::avx2 || isa == Isa::avxvnni) return pack_panel_avx2;
#endif
#if defined(Q3E_TIER_AVX512)
  if (isa == Isa::avx512 || isa == Isa::amx) return pack_panel_avx512;
#endif
  (void)isa;
  return pack_panel_scalar;
}

float source_value(SourceType type, const void* rows, uint64_t index) {
  if (type == SourceType::f32) return static_cast<const float*>(rows)[index];
  const uint16_t bits = static_cast<const uint16_t*>(rows)[index];
  return type == SourceType::f16 ? f32_from_f16(bits) : f32_from_bf16(bits);
}

[[noreturn]] void report_bad_value(const BlockFormat& format, SourceType type, const void* rows, uint64_t row_count,
                                   uint64_t columns, uint64_t first_row) {
  const float limit = traits(format.kind).limit;
  for (uint64_t i = 0; i < row_count * columns; ++i) {
    const float v = source_value(type, rows, i);
    if (v >= -limit && v <= limit) continue;
    throw Error(Status::bad_argument, "the weight in row " + std::to_string(first_row + i / columns) + ", column " +
                                          std::to_string(i % columns) + " is " + std::to_string(v) +
                                          ", expected a finite number" +
                                          (format.block ? " of magnitude at most " + std::to_string(limit) : ""));
  }
  throw Error(Status::internal, "a weight was refused, and none is out of range");
}

}  // namespace

void check_shape(const BlockFormat& format, uint64_t rows, uint64_t columns) {
  if (rows >= kMaxRows || columns >= kMaxColumns)
    throw Error(Status::bad_argument,
                "a matrix of " + std::to_string(rows) + " x " + std::to_string(columns) + " is too large for a .q3e file");
  if (format.kind == FormatKind::vector) {
    if (rows != 1 || columns == 0) throw Error(Status::bad_argument, "'vector' holds one row, found " + std::to_string(rows));
  } else if (!holds_columns(format, columns)) {
    throw Error(Status::bad_argument, "'" + std::string(format.name) + "' needs a multiple of " +
                                          std::to_string(column_unit(format)) + " columns, found " + std::to_string(columns));
  }
}

void pack_matrix(const BlockFormat& format, SourceType type, const void* rows, uint64_t row_count, uint64_t columns,
                 const float* importance, uint8_t* packed, Isa isa) {
  check_shape(format, row_count, columns);
  for (uint64_t k = 0; importance && k < columns; ++k)
    if (!(importance[k] >= kLeastImportance && importance[k] <= kMostImportance))
      throw Error(Status::bad_argument, "the importance of column " + std::to_string(k) + " is " + std::to_string(importance[k]) +
                                            ", expected 2^-20 to 2^20");
  if (format.kind == FormatKind::vector) {
    for (uint64_t k = 0; k < columns; ++k) {
      const float v = source_value(type, rows, k);
      if (v - v != 0) report_bad_value(format, type, rows, 1, columns, 0);
      std::memcpy(packed + 4 * k, &v, 4);
    }
    return;
  }
  PackPanelFn* const pack_panel = pack_panel_for(isa);
  const size_t panel_bytes = panel_layout(format, static_cast<uint32_t>(columns)).bytes;
  for (uint64_t row = 0; row < row_count; row += kPanelRows) {
    const uint64_t left = row_count - row;
    const auto n = static_cast<uint32_t>(left < kPanelRows ? left : kPanelRows);
    const uint8_t* source = static_cast<const uint8_t*>(rows) + row * columns * source_bytes(type);
    if (!pack_panel(format, type, source, n, static_cast<uint32_t>(columns), importance, packed + row / kPanelRows * panel_bytes))
      report_bad_value(format, type, source, n, columns, row);
  }
}

void unpack_matrix(const BlockFormat& format, const uint8_t* packed, uint64_t rows, uint64_t columns, float* out) {
  check_shape(format, rows, columns);
  const MatrixView w{packed, &format, static_cast<uint32_t>(rows), static_cast<uint32_t>(columns),
                     panel_layout(format, static_cast<uint32_t>(columns))};
  for (uint32_t row = 0; row < w.rows; ++row) unpack_row(w, row, out + row * columns);
}

}  // namespace q3e
