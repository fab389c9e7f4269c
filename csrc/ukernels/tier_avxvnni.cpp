#include "ukernels/simd_avxvnni.h"
#include "ukernels/tier_simd.h"

namespace q3e {

constinit const KernelTable tier_avxvnni = tier<AvxVnni>(Isa::avxvnni, matmul_avxvnni, attention_avxvnni);

}  // namespace q3e
