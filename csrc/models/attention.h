// Softmax attention of query heads that share keys and values (GQA: Ainslie et al. 2023), with rotary positions.
#pragma once

#include "models/block.h"

namespace q3e {

class Attention : public Block {
 public:
  // Throws Error(unsupported_model) for more query heads a KV head than kernels take.
  explicit Attention(const ModelConfig& config) : Attention(config, false) {}

  const char* kind() const override { return "attention"; }
  StateSpec state(KvType kv) const override;
  void clear_rows(KvType kv, uint32_t first, uint8_t* page) const override;
  const AttentionShape* attention() const override { return &shape_; }
  size_t scratch_bytes(const ScratchRequest& request) const override;
  bool step(const Steps& steps, const BlockPlace& at) const override;

 protected:
  // gated: the rows of a head's query are followed by as many of its gate.
  Attention(const ModelConfig& config, bool gated);

 private:
  static constexpr uint32_t kNone = UINT32_MAX;
  struct Scratch {
    size_t qkv;          // float32 [T][row_floats]: queries (with their gates), keys and values
    size_t q, q_scales;  // int8 or float32 [T][heads][head_dim], float32 [T][heads]
    size_t out;          // float32 [T][heads * head_dim]
    size_t open_keys;    // of Chunk::spare_pages_most pages
    size_t bytes;
  };
  Scratch scratch(const ScratchRequest& request) const;

  size_t query_stride() const { return (gated_ ? 2 : 1) * size_t{shape_.head_dim}; }  // from head to head
  size_t row_floats() const { return shape_.heads * query_stride() + 2 * size_t{shape_.kv_heads} * shape_.head_dim; }

  AttentionShape shape_;
  bool gated_;
  uint32_t norm_, q_, k_, v_, output_;
  uint32_t q_bias_ = kNone, k_bias_ = kNone, v_bias_ = kNone, q_norm_ = kNone, k_norm_ = kNone;
};

}  // namespace q3e
