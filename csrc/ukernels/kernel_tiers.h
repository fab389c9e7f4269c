// Declares each tier's kernels: <op>_<isa>, one file of that name each.
#pragma once

#include "ukernels/kernels.h"

namespace q3e {

#define Q3E_DECLARE_MATMUL(isa)                                                                                          \
  void matmul_##isa(const MatrixView&, uint32_t first, uint32_t last, const Activations&, float* out, size_t out_stride, \
                    uint8_t* scratch);

// What is built on dot products of int8, and thus differs between tiers of the same register width.
#define Q3E_DECLARE_DOTS(isa)                 \
  Q3E_DECLARE_MATMUL(isa)                     \
  void attention_##isa(const AttentionTask&); \
  int64_t dot_chain_##isa(int64_t rounds, int32_t* result);

#define Q3E_DECLARE_TIER(isa)                                                                                              \
  Q3E_DECLARE_DOTS(isa)                                                                                                    \
  void rmsnorm_##isa(const float* x, const float* weight, uint32_t n, float eps, float* out);                              \
  void rmsnorm_quantize_##isa(const float* x, const float* weight, uint32_t n, float eps, uint32_t block, int8_t* quants,  \
                              float* scales, int32_t* sums);                                                               \
  void quantize_##isa(const float* x, uint32_t n, uint32_t block, int8_t* quants, float* scales, int32_t* sums);           \
  void silu_mul_##isa(const float* gate, const float* up, uint32_t n, float* out);                                         \
  void silu_panels_##isa(const float* gate_up, uint32_t n, float* out);                                                    \
  void route_##isa(const float* logits, uint32_t experts, uint32_t top, bool normalize, uint32_t* chosen, float* weights); \
  void add_weighted_##isa(const float* const* rows, const float* weights, uint32_t count, uint32_t n, float* x);           \
  void qk_norm_rope_##isa(const RopeTask&);                                                                                \
  int32_t stream_##isa(const uint8_t* data, size_t bytes, size_t ahead);

Q3E_DECLARE_TIER(scalar)
Q3E_DECLARE_TIER(avx2)
Q3E_DECLARE_DOTS(avxvnni)
Q3E_DECLARE_TIER(avx512)
Q3E_DECLARE_TIER(neon)
Q3E_DECLARE_DOTS(amx)
Q3E_DECLARE_MATMUL(amx_emulated)
void attention_amx_emulated(const AttentionTask&);
#undef Q3E_DECLARE_TIER
#undef Q3E_DECLARE_DOTS
#undef Q3E_DECLARE_MATMUL

}  // namespace q3e
