#include "ukernels/simd_neon.h"
#include "ukernels/tier_simd.h"

namespace q3e {

constinit const KernelTable kNeonTier = tier<Neon>(Isa::neon, matmul_neon, attention_neon);

}  // namespace q3e
