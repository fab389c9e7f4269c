// The temporary memory of a forward pass, laid out once: the plan adds up the same layout that the engine uses.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "exec/tensor.h"

namespace q3e {

// Hands out a region piece by piece, each at a multiple of 64 bytes.
class Layout {
 public:
  explicit Layout(size_t begin = 0) : end_(begin) {}
  size_t take(size_t bytes) {
    const size_t begin = end_;
    end_ = (end_ + bytes + 63) / 64 * 64;
    return begin;
  }
  size_t end() const { return end_; }

 private:
  size_t end_;
};

// What a model's matrices read: 0 for float32, else the int8 block of their activations. Ascending, each once.
struct ActivationBlocks {
  std::vector<uint32_t> shared;   // of matrices that read what `norm` and `round` leave
  std::vector<uint32_t> experts;  // of pools
  uint32_t widest = 0;            // columns of the former

  explicit ActivationBlocks(std::span<const Tensor> tensors);
};

// What a block's scratch depends on.
struct ScratchRequest {
  uint32_t tokens;     // of a chunk, at most
  uint32_t sequences;  // in it, at most
  KvType kv;
  const ActivationBlocks* blocks;
};

// Byte offsets into one region; T is request.tokens.
struct ScratchLayout {
  size_t x;        // float32 [T][hidden], the residual stream
  size_t normed;   // float32 [T][hidden], when some matrix reads float32
  size_t shared;   // what the block at work keeps: no two are at work at once
  size_t cos_sin;  // float32 [T][rotated columns of a head]
  struct Quantized {
    uint32_t block;
    size_t quants, scales, sums;  // int8 [T][activation_stride(widest)], float32 and int32 [T][widest / block]
  };
  std::vector<Quantized> quantized;  // one for each int8 block in use
  size_t workers;                    // [threads], see WorkerScratch
  size_t bytes;

  // block_bytes: the most that a block of the model takes. rotated: columns of a head that RoPE turns.
  ScratchLayout(const ScratchRequest& request, uint32_t hidden, uint32_t rotated, size_t block_bytes, uint32_t threads);
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
