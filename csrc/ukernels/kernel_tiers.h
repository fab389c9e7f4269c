// The tiers, of which a build has some (tiers.cmake), and what each has in files of its own, so that they compile side by side.
#pragma once

#include "ukernels/kernels.h"

namespace q3e {

extern const KernelTable tier_avx2, tier_avxvnni, tier_avx512, tier_amx, tier_neon, tier_dotprod, tier_i8mm, tier_rvv;

MatmulFn matmul_avx2, matmul_avxvnni, matmul_avx512, matmul_amx, matmul_neon, matmul_dotprod, matmul_i8mm, matmul_rvv;
AttentionFn attention_avx2, attention_avxvnni, attention_avx512, attention_amx, attention_neon, attention_dotprod, attention_rvv;

}  // namespace q3e
