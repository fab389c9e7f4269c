#include "ukernels/attention_simd.h"
#include "ukernels/kernel_tiers.h"
#include "ukernels/simd_rvv.h"

namespace q3e {

void attention_rvv(const AttentionTask& task) { attention_simd<Rvv>(task); }

}  // namespace q3e
