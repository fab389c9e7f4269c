#include "ukernels/kernels.h"

#include "base/tiers.h"
#include "ukernels/kernel_tiers.h"

namespace q3e {
namespace {

constexpr KernelTable tier_scalar = {.isa = Isa::scalar,
                                     .matmul = matmul_scalar,
                                     .rmsnorm = rmsnorm_scalar,
                                     .rmsnorm_quantize = rmsnorm_quantize_scalar,
                                     .quantize = quantize_scalar,
                                     .silu_mul = silu_mul_scalar,
                                     .silu_panels = silu_panels_scalar,
                                     .sigmoid_mul = sigmoid_mul_scalar,
                                     .dot_gate = dot_gate_scalar,
                                     .gated_norm = gated_norm_scalar,
                                     .unit = unit_scalar,
                                     .conv_silu = conv_silu_scalar,
                                     .delta_gates = delta_gates_scalar,
                                     .delta_rule = delta_rule_scalar,
                                     .route = route_scalar,
                                     .add_weighted = add_weighted_scalar,
                                     .qk_norm_rope = qk_norm_rope_scalar,
                                     .pack_keys = pack_keys_scalar,
                                     .attention = attention_scalar};

}  // namespace

const KernelTable& kernel_table(Isa isa) {
  switch (isa) {
#define TIER(name) \
  case Isa::name:  \
    return tier_##name;
    Q3E_TIERS(TIER)
#undef TIER
    default:
      return tier_scalar;
  }
}

}  // namespace q3e
