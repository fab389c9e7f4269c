#include "ukernels/simd_avx512.h"
#include "ukernels/tier_simd.h"

namespace q3e {

constinit const KernelTable tier_amx = tier<Avx512>(Isa::amx, matmul_amx, attention_amx, kGemmPanels);

}  // namespace q3e
