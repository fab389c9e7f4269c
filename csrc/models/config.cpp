#include "models/config.h"

#include <cmath>

#include "base/block_format.h"
#include "base/error.h"
#include "io/model_file.h"

namespace q3e {
namespace {

constexpr const char* kPrefix = "qwen3edge.";

uint32_t read_number(const ModelFile& file, const char* key, uint32_t unit, uint32_t limit) {
  const std::string full = std::string(kPrefix) + key;
  const uint32_t v = file.u32(full);
  if (v == 0 || v > limit || v % unit != 0)
    throw Error(Status::bad_file, file.path() + ": '" + full + "' is " + std::to_string(v) + ", expected a multiple of " +
                                      std::to_string(unit) + " from " + std::to_string(unit) + " to " + std::to_string(limit));
  return v;
}

std::string shape(uint32_t rows, uint32_t columns) { return std::to_string(rows) + " x " + std::to_string(columns); }

void check_tensors(const ModelFile& file, const ModelConfig& config) {
  const std::vector<ExpectedTensor> expected = expected_tensors(config);
  for (const ExpectedTensor& e : expected) {
    const TensorView& t = file.tensor(e.name);
    if (t.rows != e.rows || t.columns != e.columns)
      throw Error(Status::bad_file, file.path() + ": tensor '" + e.name + "' has the shape " + shape(t.rows, t.columns) +
                                        ", expected " + shape(e.rows, e.columns));
    if (e.format ? std::string_view(e.format) != t.format->name : t.format->kind == FormatKind::vector)
      throw Error(Status::bad_file, file.path() + ": tensor '" + e.name + "' has the block format '" + t.format->name +
                                        "', expected " + (e.format ? quoted(e.format) : "one for matrices"));
  }
  if (expected.size() == file.tensors().size()) return;  // names are unique, so all are expected
  for (const TensorView& t : file.tensors()) {
    bool known = false;
    for (const ExpectedTensor& e : expected) known = known || t.name == e.name;
    if (!known) throw Error(Status::bad_file, file.path() + ": unexpected tensor " + quoted(t.name));
  }
}

void check_frequencies(const ModelFile& file) {
  const TensorView& t = file.tensor("rope.inverse_frequencies");
  for (uint32_t i = 0; i < t.columns; ++i) {
    const float f = t.as_vector()[i];
    if (!(f > 0.0f && f <= 1.0f))
      throw Error(Status::bad_file, file.path() + ": rope.inverse_frequencies[" + std::to_string(i) + "] is " +
                                        std::to_string(f) + ", expected a number above 0 and at most 1");
  }
}

}  // namespace

std::vector<ExpectedTensor> expected_tensors(const ModelConfig& c) {
  std::vector<ExpectedTensor> out;
  out.push_back({"token_embd.weight", c.vocab_size, c.hidden_size, nullptr});
  out.push_back({"output_norm.weight", 1, c.hidden_size, "vector"});
  if (!c.tied_embeddings) out.push_back({"output.weight", c.vocab_size, c.hidden_size, nullptr});
  out.push_back({"rope.inverse_frequencies", 1, c.head_size / 2, "vector"});
  for (uint32_t n = 0; n < c.layers; ++n) {
    const std::string layer = "blk." + std::to_string(n) + ".";
    const auto matrix = [&](const char* name, uint32_t rows, uint32_t columns, const char* format = nullptr) {
      out.push_back({layer + name, rows, columns, format});
    };
    const auto vector = [&](const char* name, uint32_t size) { matrix(name, 1, size, "vector"); };
    vector("attn_norm.weight", c.hidden_size);
    matrix("attn_q.weight", c.query_size(), c.hidden_size);
    matrix("attn_k.weight", c.kv_size(), c.hidden_size);
    matrix("attn_v.weight", c.kv_size(), c.hidden_size);
    if (c.qkv_bias) {
      vector("attn_q.bias", c.query_size());
      vector("attn_k.bias", c.kv_size());
      vector("attn_v.bias", c.kv_size());
    }
    if (c.qk_norm) {
      vector("attn_q_norm.weight", c.head_size);
      vector("attn_k_norm.weight", c.head_size);
    }
    matrix("attn_output.weight", c.hidden_size, c.query_size());
    vector("ffn_norm.weight", c.hidden_size);
    if (c.is_moe()) {
      matrix("ffn_gate_inp.weight", c.experts, c.hidden_size, "f32");
      matrix("ffn_gate_up_exps.weight", c.experts * 2 * c.expert_ffn_size, c.hidden_size);
      matrix("ffn_down_exps.weight", c.experts * c.hidden_size, c.expert_ffn_size);
      continue;
    }
    matrix("ffn_gate.weight", c.ffn_size, c.hidden_size);
    matrix("ffn_up.weight", c.ffn_size, c.hidden_size);
    matrix("ffn_down.weight", c.hidden_size, c.ffn_size);
  }
  return out;
}

ModelConfig read_model_config(const ModelFile& file) {
  const auto fail = [&](Status status, const std::string& text) { throw Error(status, file.path() + ": " + text); };
  ModelConfig c;
  c.model_type = std::string(file.string("qwen3edge.model_type"));
  const bool is_moe = c.model_type == "qwen3_moe";
  if (c.model_type != "qwen3" && c.model_type != "qwen2" && !is_moe)
    fail(Status::unsupported_model, "expected the model type 'qwen3', 'qwen2' or 'qwen3_moe', found " + quoted(c.model_type));
  c.vocab_size = read_number(file, "vocab_size", 1, ModelLimits::vocab_size);
  c.context_length = read_number(file, "context_length", 1, ModelLimits::context_length);
  c.hidden_size = read_number(file, "embedding_length", kColumnUnit, ModelLimits::width);
  c.layers = read_number(file, "block_count", 1, ModelLimits::layers);
  if (is_moe) {
    c.experts = read_number(file, "expert_count", 1, ModelLimits::experts);
    c.experts_per_token = read_number(file, "expert_used_count", 1, c.experts);
    c.expert_ffn_size = read_number(file, "expert_feed_forward_length", kColumnUnit, ModelLimits::width);
    c.norm_topk_prob = file.boolean("qwen3edge.norm_topk_prob");
  } else {
    c.ffn_size = read_number(file, "feed_forward_length", kColumnUnit, ModelLimits::width);
  }
  c.heads = read_number(file, "attention.head_count", 1, ModelLimits::heads);
  c.kv_heads = read_number(file, "attention.head_count_kv", 1, ModelLimits::heads);
  c.head_size = read_number(file, "attention.key_length", kColumnUnit, ModelLimits::head_size);
  if (c.heads % c.kv_heads != 0)
    fail(Status::bad_file, "expected attention.head_count_kv to divide attention.head_count, found " +
                               std::to_string(c.kv_heads) + " and " + std::to_string(c.heads));
  c.rms_epsilon = file.f32("qwen3edge.attention.layer_norm_rms_epsilon");
  if (!(c.rms_epsilon > 0) || !std::isfinite(c.rms_epsilon))
    fail(Status::bad_file, "expected attention.layer_norm_rms_epsilon above 0, found " + std::to_string(c.rms_epsilon));
  if (file.find_key("qwen3edge.attention.key_outliers")) {
    c.key_outliers = file.f32("qwen3edge.attention.key_outliers");
    if (!(c.key_outliers >= 0) || !std::isfinite(c.key_outliers))
      fail(Status::bad_file, "expected attention.key_outliers of at least 0, found " + std::to_string(c.key_outliers));
  }
  c.qk_norm = file.boolean("qwen3edge.attention.qk_norm");
  c.qkv_bias = file.boolean("qwen3edge.attention.qkv_bias");
  c.tied_embeddings = file.boolean("qwen3edge.tie_word_embeddings");
  check_tensors(file, c);
  check_frequencies(file);
  file.require_undamaged();
  return c;
}

}  // namespace q3e
