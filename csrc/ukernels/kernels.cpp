#include "ukernels/kernels.h"

#include "ukernels/kernel_tiers.h"

namespace q3e {
namespace {

constexpr KernelTable kScalarTier = {.isa = Isa::scalar,
                                     .matmul = matmul_scalar,
                                     .rmsnorm = rmsnorm_scalar,
                                     .rmsnorm_quantize = rmsnorm_quantize_scalar,
                                     .quantize = quantize_scalar,
                                     .silu_mul = silu_mul_scalar,
                                     .silu_panels = silu_panels_scalar,
                                     .route = route_scalar,
                                     .add_weighted = add_weighted_scalar,
                                     .qk_norm_rope = qk_norm_rope_scalar,
                                     .attention = attention_scalar};

}  // namespace

const KernelTable& kernel_table(Isa isa) {
  switch (isa) {
#if defined(__x86_64__)
    case Isa::avx2:
      return kAvx2Tier;
    case Isa::avxvnni:
      return kAvxVnniTier;
    case Isa::avx512:
      return kAvx512Tier;
    case Isa::amx:
      return kAmxTier;
#elif defined(__aarch64__)
    case Isa::neon:
      return kNeonTier;
#endif
    default:
      return kScalarTier;
  }
}

}  // namespace q3e
