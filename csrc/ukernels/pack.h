// Weights into the packed formats of docs/format.md, and back. Used by the converter and the tests, never by a forward pass.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/block_format.h"
#include "base/cpu_features.h"

namespace q3e {

enum class SourceType : uint8_t { f32, f16, bf16 };

constexpr size_t source_bytes(SourceType type) { return type == SourceType::f32 ? 4 : 2; }

// Throws Error(bad_argument) for rows and columns that the format cannot hold.
void check_shape(const BlockFormat& format, uint64_t rows, uint64_t columns);

// Packs rows [rows][columns], row-major, into packed [packed_bytes(format, rows, columns)]. Every ISA writes the same bytes.
// Runs on the calling thread. Panels are independent: a matrix may be packed in slices of a multiple of 16 rows.
// importance: [columns], what a squared error in each column counts, 2^-20 to 2^20, or null for all alike.
// Throws Error(bad_argument) for columns that the format cannot hold, for an importance out of range, and for a weight that is
// not finite or too large for the format's float16 scales.
void pack_matrix(const BlockFormat& format, SourceType type, const void* rows, uint64_t row_count, uint64_t columns,
                 const float* importance, uint8_t* packed, Isa isa);

// The values that packed bytes stand for, in float32 [rows][columns]; for bf16 and f32 exact, otherwise d * w8 (or d * q + m)
// rounded once (twice) to float32.
void unpack_matrix(const BlockFormat& format, const uint8_t* packed, uint64_t rows, uint64_t columns, float* out);

// One panel: `rows` in 1..16. False when a value is not finite or above the kind's limit.
using PackPanelFn = bool(const BlockFormat& format, SourceType type, const void* rows, uint32_t row_count, uint32_t columns,
                         const float* importance, uint8_t* panel);
PackPanelFn pack_panel_scalar, pack_panel_avx2, pack_panel_avx512;

}  // namespace q3e
