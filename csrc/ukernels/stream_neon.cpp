#include "ukernels/kernel_tiers.h"
#include "ukernels/simd_neon.h"
#include "ukernels/stream_simd.h"

namespace q3e {

int32_t stream_neon(const uint8_t* data, size_t bytes, size_t ahead) { return stream_simd<Neon>(data, bytes, ahead); }

}  // namespace q3e
