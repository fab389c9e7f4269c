// The tiers, and what each has in files of its own, so that they compile side by side.
#pragma once

#include "ukernels/kernels.h"

namespace q3e {

extern const KernelTable kAvx2Tier, kAvxVnniTier, kAvx512Tier, kAmxTier, kNeonTier;

MatmulFn matmul_avx2, matmul_avxvnni, matmul_avx512, matmul_amx, matmul_neon;
AttentionFn attention_avx2, attention_avxvnni, attention_avx512, attention_amx, attention_neon;

}  // namespace q3e
