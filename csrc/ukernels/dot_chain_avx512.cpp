#include "ukernels/dot_chain_simd.h"
#include "ukernels/kernel_tiers.h"
#include "ukernels/simd_avx512.h"

namespace q3e {

int64_t dot_chain_avx512(int64_t rounds, int32_t* result) { return dot_chain_simd<Avx512>(rounds, result); }

}  // namespace q3e
