// Sines and cosines of the rotary embedding, the same bits on every machine: no libm.
#pragma once

#include <cstdint>

namespace q3e {

// cos_sin[0 .. half) = cos(position * frequencies[i]), cos_sin[half .. 2 half) = sin. The angle is the float32 product, as in the
// reference model; sine and cosine are rounded once from double.
void fill_cos_sin(uint32_t position, const float* frequencies, uint32_t half, float* cos_sin);

}  // namespace q3e
