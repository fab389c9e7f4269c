// The quantizers compiled for avx512; see CMakeLists.txt for the flags.
#include "ukernels/pack_impl.h"

namespace q3e {

bool pack_panel_avx512(const BlockFormat& format, SourceType type, const void* rows, uint32_t row_count, uint32_t columns,
                       const float* importance, uint8_t* panel) {
  return pack_panel(format, type, rows, row_count, columns, importance, panel);
}

}  // namespace q3e
