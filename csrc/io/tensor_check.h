// Whether packed values obey the rules of docs/format.md that a checksum cannot see.
#pragma once

#include <cstdint>
#include <string>

#include "base/block_format.h"

namespace q3e {

// Empty when all is well, else the first fault with its place: a scale or value that is not finite, a w8 outside int8.
// `packed` is [packed_bytes(format, rows, columns)], of a matrix's panels from `first_panel` on.
std::string find_fault(const BlockFormat& format, const uint8_t* packed, uint64_t rows, uint32_t columns,
                       uint64_t first_panel = 0);

}  // namespace q3e
