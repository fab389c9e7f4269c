#include "ukernels/simd_avx512.h"
#include "ukernels/tier_simd.h"

namespace q3e {

constinit const KernelTable tier_avx512 = tier<Avx512>(Isa::avx512, matmul_avx512, attention_avx512);

}  // namespace q3e
