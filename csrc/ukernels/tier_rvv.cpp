#include "ukernels/simd_rvv.h"
#include "ukernels/tier_simd.h"

namespace q3e {

constinit const KernelTable tier_rvv = tier<Rvv>(Isa::rvv, matmul_rvv, attention_rvv);

}  // namespace q3e
