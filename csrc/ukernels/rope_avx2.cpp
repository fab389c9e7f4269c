#include "ukernels/kernel_tiers.h"
#include "ukernels/rope_simd.h"
#include "ukernels/simd_avx2.h"

namespace q3e {

void qk_norm_rope_avx2(const RopeTask& task) { qk_norm_rope_simd<Avx2>(task); }

}  // namespace q3e
