#include "models/weights.h"

#include <string>

namespace q3e {
namespace {

MatrixView matrix(const ModelFile& file, const std::string& name) {
  const TensorView& t = file.tensor(name);
  return {t.data, t.format, t.rows, t.columns, panel_layout(*t.format, t.columns)};
}

LayerWeights layer(const ModelFile& file, const ModelConfig& config, uint32_t index) {
  const std::string at = "blk." + std::to_string(index) + ".";
  const auto vector = [&](const char* name) { return file.tensor(at + name).as_vector(); };
  LayerWeights w{};
  w.attn_norm = vector("attn_norm.weight");
  w.q_norm = config.qk_norm ? vector("attn_q_norm.weight") : nullptr;
  w.k_norm = config.qk_norm ? vector("attn_k_norm.weight") : nullptr;
  w.q = matrix(file, at + "attn_q.weight");
  w.k = matrix(file, at + "attn_k.weight");
  w.v = matrix(file, at + "attn_v.weight");
  w.attn_output = matrix(file, at + "attn_output.weight");
  if (config.qkv_bias)
    for (const char* name : {"attn_q.bias", "attn_k.bias", "attn_v.bias"}) {
      const TensorView& t = file.tensor(at + name);
      w.qkv_bias.insert(w.qkv_bias.end(), t.as_vector(), t.as_vector() + t.columns);
    }
  w.ffn_norm = vector("ffn_norm.weight");
  if (config.is_moe()) {
    w.router = matrix(file, at + "ffn_gate_inp.weight");
    w.gate_up_experts = matrix(file, at + "ffn_gate_up_exps.weight");
    w.down_experts = matrix(file, at + "ffn_down_exps.weight");
    return w;
  }
  w.gate = matrix(file, at + "ffn_gate.weight");
  w.up = matrix(file, at + "ffn_up.weight");
  w.down = matrix(file, at + "ffn_down.weight");
  return w;
}

}  // namespace

std::vector<const MatrixView*> LayerWeights::matrices() const {
  std::vector<const MatrixView*> all{&q, &k, &v, &attn_output};
  for (const MatrixView* m : {&gate, &up, &down, &router, &gate_up_experts, &down_experts})
    if (m->format) all.push_back(m);
  return all;
}

Weights::Weights(const ModelFile& file, const ModelConfig& config)
    : embedding(matrix(file, "token_embd.weight")),
      head(config.tied_embeddings ? embedding : matrix(file, "output.weight")),
      output_norm(file.tensor("output_norm.weight").as_vector()),
      rope_frequencies(file.tensor("rope.inverse_frequencies").as_vector()) {
  layers.reserve(config.layers);
  for (uint32_t i = 0; i < config.layers; ++i) layers.push_back(layer(file, config, i));
}

}  // namespace q3e
