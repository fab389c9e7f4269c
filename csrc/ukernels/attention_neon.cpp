#include "ukernels/attention_simd.h"
#include "ukernels/kernel_tiers.h"
#include "ukernels/simd_neon.h"

namespace q3e {

void attention_neon(const AttentionTask& task) { attention_simd<Neon>(task); }

}  // namespace q3e
