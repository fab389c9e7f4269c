#include "ukernels/simd_avx2.h"
#include "ukernels/tier_simd.h"

namespace q3e {

constinit const KernelTable tier_avx2 = tier<Avx2>(Isa::avx2, matmul_avx2, attention_avx2);

}  // namespace q3e
