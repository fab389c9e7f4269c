// The shape of a model.
#pragma once

#include <cstdint>
#include <string>

namespace q3e {

struct ModelConfig {
  std::string model_type;  // a row of architectures.cpp
  uint32_t vocab_size = 0;
  uint32_t context_length = 0;
  uint32_t hidden_size = 0;
  uint32_t layers = 0;
  uint32_t ffn_size = 0;  // 0 for a mixture of experts
  uint32_t experts = 0;   // of a layer; 0 for a dense model
  uint32_t experts_per_token = 0;
  uint32_t expert_ffn_size = 0;
  uint32_t shared_ffn_size = 0;  // of the expert that every token takes
  uint32_t heads = 0;
  uint32_t kv_heads = 0;
  uint32_t head_size = 0;
  uint32_t rotary_size = 0;      // values of a head that RoPE turns, the first ones; 0: all
  uint32_t delta_key_heads = 0;  // of a delta net
  uint32_t delta_value_heads = 0;
  uint32_t delta_head_size = 0;
  float rms_epsilon = 0;
  float rope_factor = 1;  // of RoPE's sines and cosines: YaRN's attention factor
  bool qk_norm = false;
  bool qkv_bias = false;
  bool tied_embeddings = false;
  bool headless = false;        // tied in the file, but there are no logits: an embedding model
  bool norm_topk_prob = false;  // the weights of a token's experts are divided by their sum

  uint32_t rotated() const { return rotary_size ? rotary_size : head_size; }
  uint32_t query_size() const { return heads * head_size; }
  uint32_t kv_size() const { return kv_heads * head_size; }
};

// Limits far above any Qwen3, low enough that no product of two of them leaves 64 bits and no row count leaves 31.
struct ModelLimits {
  static constexpr uint32_t vocab_size = 1u << 24;
  static constexpr uint32_t context_length = 1u << 24;
  static constexpr uint32_t width = 1u << 20;  // hidden, FFN, query
  static constexpr uint32_t layers = 1024;
  static constexpr uint32_t heads = 4096;
  static constexpr uint32_t head_size = 256;
  static constexpr uint32_t delta_heads = 512;
  static constexpr uint32_t experts = 512;
};

}  // namespace q3e
