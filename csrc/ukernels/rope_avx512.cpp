#include "ukernels/kernel_tiers.h"
#include "ukernels/rope_simd.h"
#include "ukernels/simd_avx512.h"

namespace q3e {

void qk_norm_rope_avx512(const RopeTask& task) { qk_norm_rope_simd<Avx512>(task); }

}  // namespace q3e
