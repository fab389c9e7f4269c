#include "ukernels/attention_simd.h"
#include "ukernels/kernel_tiers.h"
#include "ukernels/simd_avxvnni.h"

namespace q3e {

void attention_avxvnni(const AttentionTask& task) {
  if (!is_integer(task.type)) return attention_avx2(task);
  attention_integer<AvxVnni>(task);
}

}  // namespace q3e
