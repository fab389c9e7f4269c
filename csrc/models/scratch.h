// Every temporary buffer of a forward pass, planned once: the plan adds up the same layout that the engine uses.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "models/weights.h"
#include "ukernels/kernels.h"

namespace q3e {

// The activation types that a model's matrices read: 0 for float32, else the int8 block. Ascending, each once.
struct ActivationBlocks {
  std::vector<uint32_t> all, experts;  // of all matrices but experts' down, which read rows of their own; of experts' matrices
};
ActivationBlocks activation_blocks(const Weights& weights);

// Byte offsets into one region; T is the chunk. The attention buffers and the FFN's are never alive together and share their
// place.
struct ScratchLayout {
  size_t x;            // float32 [T][hidden], the residual stream
  size_t normed;       // float32 [T][hidden], when some matrix reads float32
  size_t qkv;          // float32 [T][(heads + 2 kv_heads) * head_size]
  size_t q, q_scales;  // int8 or float32 [T][heads][head_size], float32 [T][heads]
  size_t attention;    // float32 [T][heads * head_size]
  size_t ffn;          // float32 [T][ffn]
  size_t cos_sin;      // float32 [T][head_size]
  struct Quantized {
    uint32_t block;
    size_t quants, scales, sums;  // int8 [T][activation_stride(widest)], float32 and int32 [T][widest / block]
  };
  std::vector<Quantized> quantized;  // one for each int8 block in use
  // With experts; S = T * experts_per_token slots, one for each expert of each token.
  struct Experts {
    // As matrices read them: float32 [S][columns], int8 [S][activation_stride(columns)], float32 and int32 [S][blocks]
    struct Rows {
      size_t values, quants, scales, sums;
    };
    size_t logits, logit_stride;         // float32 [T][logit_stride]
    size_t chosen, weights, slots;       // uint32, float32, uint32 [T][experts_per_token]
    Rows input, hidden;                  // columns: hidden, expert_ffn
    size_t out;                          // float32 [S][hidden]
    size_t likely_input, likely_logits;  // float32 [hidden], [logit_stride]: one token's, as the next layer's router sees it
  };
  Experts experts;
  size_t workers, worker_bytes;  // [threads], see WorkerScratch
  size_t bytes;

  ScratchLayout(const ModelConfig& config, const ActivationBlocks& blocks, KvType kv, uint32_t chunk, uint32_t threads);
};

// One thread's own buffers.
struct WorkerScratch {
  static constexpr size_t kTileFloats = size_t{kGemmTokens} * kGemmPanels * kPanelRows;
  alignas(64) uint8_t matmul[kMatmulScratchBytes];
  alignas(64) float tile[kTileFloats];   // a matmul's result before its epilogue
  alignas(64) float tile2[kTileFloats];  // the up projection beside the gate's
  alignas(64) uint8_t attention[kAttentionScratchBytes];
};

}  // namespace q3e
