#include "ukernels/dot_chain_simd.h"
#include "ukernels/kernel_tiers.h"
#include "ukernels/simd_avx2.h"

namespace q3e {

int64_t dot_chain_avx2(int64_t rounds, int32_t* result) { return dot_chain_simd<Avx2>(rounds, result); }

}  // namespace q3e
