#include "ukernels/attention_simd.h"
#include "ukernels/kernel_tiers.h"
#include "ukernels/simd_avx512.h"

namespace q3e {

void attention_avx512(const AttentionTask& task) { attention_simd<Avx512>(task); }

}  // namespace q3e
