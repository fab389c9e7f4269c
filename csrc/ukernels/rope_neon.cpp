#include "ukernels/kernel_tiers.h"
#include "ukernels/rope_simd.h"
#include "ukernels/simd_neon.h"

namespace q3e {

void qk_norm_rope_neon(const RopeTask& task) { qk_norm_rope_simd<Neon>(task); }

}  // namespace q3e
