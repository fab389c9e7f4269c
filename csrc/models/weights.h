// The tensors of a model as the engine reads them: views of the mapped file.
#pragma once

#include <vector>

#include "io/model_file.h"
#include "models/config.h"
#include "ukernels/kernels.h"

namespace q3e {

struct LayerWeights {
  const float* attn_norm;  // [hidden]
  const float* q_norm;     // [head_size], or null
  const float* k_norm;
  MatrixView q, k, v, attn_output;
  std::vector<float> qkv_bias;               // [heads + 2 kv_heads][head_size], or empty
  const float* ffn_norm;                     // [hidden]
  MatrixView gate, up, down;                 // empty for a mixture of experts, which has
  MatrixView router;                         // [experts, hidden]
  MatrixView gate_up_experts, down_experts;  // one after the other: models/expert_source.h

  // Every matrix that reads activations.
  std::vector<const MatrixView*> matrices() const;
};

struct Weights {
  MatrixView embedding, head;  // [vocab, hidden]; the same when tied
  const float* output_norm;
  const float* rope_frequencies;  // [head_size / 2]
  std::vector<LayerWeights> layers;

  // The file must have passed read_model_config.
  Weights(const ModelFile& file, const ModelConfig& config);
};

}  // namespace q3e
