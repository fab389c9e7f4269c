#include "ukernels/attention_simd.h"
#include "ukernels/kernel_tiers.h"
#include "ukernels/simd_avx2.h"

namespace q3e {

void attention_avx2(const AttentionTask& task) { attention_simd<Avx2>(task); }

}  // namespace q3e
