// One row of a packed matrix in float32: the look-up of an embedding, and the meaning of every format.
#pragma once

#include "ukernels/kernels.h"

namespace q3e {

// out[columns] = row of w; the value of a weight is as in docs/format.md, each operation rounded to float32.
void unpack_row(const MatrixView& w, uint32_t row, float* out);

}  // namespace q3e
