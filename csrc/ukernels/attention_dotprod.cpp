#include "ukernels/attention_simd.h"
#include "ukernels/kernel_tiers.h"
#include "ukernels/simd_dotprod.h"

namespace q3e {

void attention_dotprod(const AttentionTask& task) { attention_simd<DotProd>(task); }

}  // namespace q3e
