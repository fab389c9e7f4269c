#include "ukernels/unpack_row.h"

#include "ukernels/panel_row.h"

namespace q3e {

void unpack_row(const MatrixView& w, uint32_t row, float* out) {
  if (w.format->kind == FormatKind::vector) {
    std::memcpy(out, w.data, size_t{w.columns} * 4);
    return;
  }
  const PanelRow reader{*w.format, w.layout, w.data + row / kPanelRows * w.layout.bytes, row % kPanelRows};
  for (uint32_t k = 0; k < w.columns; ++k) out[k] = reader.value(k);
}

}  // namespace q3e
