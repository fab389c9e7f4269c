#include "models/keys.h"

#include <cmath>

#include "base/block_format.h"
#include "base/error.h"

namespace q3e {

uint32_t read_number(const ModelFile& file, const char* key, uint32_t unit, uint32_t limit) {
  const std::string full = std::string("qwen3edge.") + key;
  const uint32_t v = file.u32(full);
  if (v == 0 || v > limit || v % unit != 0)
    file.fail(Status::bad_file, "'" + full + "' is " + std::to_string(v) + ", expected a multiple of " + std::to_string(unit) +
                                    " from " + std::to_string(unit) + " to " + std::to_string(limit));
  return v;
}

void read_common(const ModelFile& file, ModelConfig& c) {
  c.vocab_size = read_number(file, "vocab_size", 1, ModelLimits::vocab_size);
  c.context_length = read_number(file, "context_length", 1, ModelLimits::context_length);
  c.hidden_size = read_number(file, "embedding_length", kColumnUnit, ModelLimits::width);
  c.layers = read_number(file, "block_count", 1, ModelLimits::layers);
  c.rms_epsilon = file.f32("qwen3edge.attention.layer_norm_rms_epsilon");
  if (!(c.rms_epsilon > 0) || !std::isfinite(c.rms_epsilon))
    file.fail(Status::bad_file, "expected attention.layer_norm_rms_epsilon above 0, found " + std::to_string(c.rms_epsilon));
  c.tied_embeddings = file.boolean("qwen3edge.tie_word_embeddings");
  if (file.find_key("qwen3edge.headless")) c.headless = file.boolean("qwen3edge.headless");
}

void read_attention(const ModelFile& file, ModelConfig& c) {
  c.heads = read_number(file, "attention.head_count", 1, ModelLimits::heads);
  c.kv_heads = read_number(file, "attention.head_count_kv", 1, ModelLimits::heads);
  c.head_size = read_number(file, "attention.key_length", kColumnUnit, ModelLimits::head_size);
  if (c.heads % c.kv_heads != 0)
    file.fail(Status::bad_file, "expected attention.head_count_kv to divide attention.head_count, found " +
                                    std::to_string(c.kv_heads) + " and " + std::to_string(c.heads));
  if (file.find_key("qwen3edge.rope.scaling.attention_factor")) {
    c.rope_factor = file.f32("qwen3edge.rope.scaling.attention_factor");
    if (!(c.rope_factor > 0) || !std::isfinite(c.rope_factor))
      file.fail(Status::bad_file, "expected rope.scaling.attention_factor above 0, found " + std::to_string(c.rope_factor));
  }
  c.qk_norm = file.boolean("qwen3edge.attention.qk_norm");
  c.qkv_bias = file.boolean("qwen3edge.attention.qkv_bias");
}

void read_experts(const ModelFile& file, ModelConfig& c) {
  c.experts = read_number(file, "expert_count", 1, ModelLimits::experts);
  c.experts_per_token = read_number(file, "expert_used_count", 1, c.experts);
  c.expert_ffn_size = read_number(file, "expert_feed_forward_length", kColumnUnit, ModelLimits::width);
  c.norm_topk_prob = file.boolean("qwen3edge.norm_topk_prob");
}

}  // namespace q3e
