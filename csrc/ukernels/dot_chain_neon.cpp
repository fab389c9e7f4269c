#include "ukernels/dot_chain_simd.h"
#include "ukernels/kernel_tiers.h"
#include "ukernels/simd_neon.h"

namespace q3e {

int64_t dot_chain_neon(int64_t rounds, int32_t* result) { return dot_chain_simd<Neon>(rounds, result); }

}  // namespace q3e
