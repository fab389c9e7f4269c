#include "ukernels/kernel_tiers.h"
#include "ukernels/simd_avx2.h"
#include "ukernels/stream_simd.h"

namespace q3e {

int32_t stream_avx2(const uint8_t* data, size_t bytes, size_t ahead) { return stream_simd<Avx2>(data, bytes, ahead); }

}  // namespace q3e
