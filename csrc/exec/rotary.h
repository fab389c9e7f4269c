// Sines and cosines of the rotary embedding, the same bits on every machine: no libm.
#pragma once

#include <cstdint>

namespace q3e {

// cos_sin[0 .. half) = factor * cos(position * frequencies[i]), cos_sin[half .. 2 half) = factor * sin. The angle is the float32
// product, as in the reference model; what is stored is rounded once from double. factor: YaRN's, otherwise 1.
void fill_cos_sin(uint32_t position, const float* frequencies, uint32_t half, float factor, float* cos_sin);

}  // namespace q3e
