#include "ukernels/kernel_tiers.h"
#include "ukernels/kernels.h"

namespace q3e {

const KernelTable& kernel_table(Isa isa) {
#if defined(__x86_64__)
  static const KernelTable avx2 = {Isa::avx2,         matmul_avx2,       rmsnorm_avx2,     rmsnorm_quantize_avx2,
                                   quantize_avx2,     silu_mul_avx2,     silu_panels_avx2, route_avx2,
                                   add_weighted_avx2, qk_norm_rope_avx2, attention_avx2};
  static const KernelTable avxvnni = {Isa::avxvnni,      matmul_avxvnni,    rmsnorm_avx2,     rmsnorm_quantize_avx2,
                                      quantize_avx2,     silu_mul_avx2,     silu_panels_avx2, route_avx2,
                                      add_weighted_avx2, qk_norm_rope_avx2, attention_avxvnni};
  static const KernelTable avx512 = {Isa::avx512,         matmul_avx512,       rmsnorm_avx512,     rmsnorm_quantize_avx512,
                                     quantize_avx512,     silu_mul_avx512,     silu_panels_avx512, route_avx512,
                                     add_weighted_avx512, qk_norm_rope_avx512, attention_avx512};
  static const KernelTable amx = {
      Isa::amx,           matmul_amx,   rmsnorm_avx512,      rmsnorm_quantize_avx512, quantize_avx512, silu_mul_avx512,
      silu_panels_avx512, route_avx512, add_weighted_avx512, qk_norm_rope_avx512,     attention_amx};
  if (isa == Isa::amx) return amx;
  if (isa == Isa::avx512) return avx512;
  if (isa == Isa::avxvnni) return avxvnni;
  if (isa == Isa::avx2) return avx2;
#elif defined(__aarch64__)
  static const KernelTable neon = {Isa::neon,         matmul_neon,       rmsnorm_neon,     rmsnorm_quantize_neon,
                                   quantize_neon,     silu_mul_neon,     silu_panels_neon, route_neon,
                                   add_weighted_neon, qk_norm_rope_neon, attention_neon};
  if (isa == Isa::neon) return neon;
#endif
  static const KernelTable scalar = {Isa::scalar,         matmul_scalar,       rmsnorm_scalar,     rmsnorm_quantize_scalar,
                                     quantize_scalar,     silu_mul_scalar,     silu_panels_scalar, route_scalar,
                                     add_weighted_scalar, qk_norm_rope_scalar, attention_scalar};
  (void)isa;
  return scalar;
}

EmulatedAmx emulated_amx() {
#if defined(__x86_64__)
  if (isa_supported(Isa::avx512)) return {matmul_amx_emulated, attention_amx_emulated};
#endif
  return {};
}

}  // namespace q3e
