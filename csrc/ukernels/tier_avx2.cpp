// The tiers of 256-bit registers: they differ in matmul and attention alone, so that all else is here once.
#include "base/tiers.h"
#include "ukernels/simd_avx2.h"
#include "ukernels/tier_simd.h"

namespace q3e {

constinit const KernelTable tier_avx2 = tier<Avx2>(Isa::avx2, matmul_avx2, attention_avx2);
#if defined(Q3E_TIER_AVXVNNI)
constinit const KernelTable tier_avxvnni = tier<Avx2>(Isa::avxvnni, matmul_avxvnni, attention_avxvnni);
#endif

}  // namespace q3e
