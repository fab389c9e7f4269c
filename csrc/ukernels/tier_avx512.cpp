// The tiers of 512-bit registers, as in tier_avx2.cpp.
#include "base/tiers.h"
#include "ukernels/simd_avx512.h"
#include "ukernels/tier_simd.h"

namespace q3e {

constinit const KernelTable tier_avx512 = tier<Avx512>(Isa::avx512, matmul_avx512, attention_avx512);
#if defined(Q3E_TIER_AMX)
constinit const KernelTable tier_amx = tier<Avx512>(Isa::amx, matmul_amx, attention_amx, kGemmPanels);
#endif

}  // namespace q3e
