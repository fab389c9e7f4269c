#include "ukernels/attention_simd.h"
#include "ukernels/kernel_tiers.h"
#include "ukernels/simd_avxvnni.h"

namespace q3e {

void attention_avxvnni(const AttentionTask& task) { attention_simd<AvxVnni>(task); }

}  // namespace q3e
