// The tiers of 64-bit Arm: they differ in matmul and attention alone, so that all else is here once.
#include "base/tiers.h"
#include "ukernels/simd_neon.h"
#include "ukernels/tier_simd.h"

namespace q3e {

constinit const KernelTable tier_neon = tier<Neon>(Isa::neon, matmul_neon, attention_neon);
#if defined(Q3E_TIER_DOTPROD)
constinit const KernelTable tier_dotprod = tier<Neon>(Isa::dotprod, matmul_dotprod, attention_dotprod);
#endif
#if defined(Q3E_TIER_I8MM)
constinit const KernelTable tier_i8mm = tier<Neon>(Isa::i8mm, matmul_i8mm, attention_dotprod);
#endif

}  // namespace q3e
