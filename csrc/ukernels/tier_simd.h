// The table of a tier, for its vocabulary S of registers.
#pragma once

#include "ukernels/conv_simd.h"
#include "ukernels/delta_simd.h"
#include "ukernels/experts_simd.h"
#include "ukernels/kernel_tiers.h"
#include "ukernels/norm_simd.h"
#include "ukernels/pack_keys_simd.h"
#include "ukernels/rope_simd.h"
#include "ukernels/silu_simd.h"

namespace q3e {
namespace {

template <class S>
constexpr KernelTable tier(Isa isa, MatmulFn* matmul, AttentionFn* attention, uint32_t stream_panels = 2) {
  return {.isa = isa,
          .matmul = matmul,
          .rmsnorm = rmsnorm_simd<S>,
          .rmsnorm_quantize = rmsnorm_quantize_simd<S>,
          .quantize = quantize_simd<S>,
          .silu_mul = silu_mul_simd<S>,
          .silu_panels = silu_panels_simd<S>,
          .sigmoid_mul = sigmoid_mul_simd<S>,
          .dot_gate = dot_gate_simd<S>,
          .gated_norm = gated_norm_simd<S>,
          .unit = unit_simd<S>,
          .conv_silu = conv_silu_simd<S>,
          .delta_gates = delta_gates_simd<S>,
          .delta_rule = delta_rule_simd<S>,
          .route = route_simd<S>,
          .add_weighted = add_weighted_simd<S>,
          .qk_norm_rope = qk_norm_rope_simd<S>,
          .pack_keys = pack_keys_simd<S>,
          .attention = attention,
          .stream_panels = stream_panels};
}

}  // namespace
}  // namespace q3e
