// Reads the numbers of a model's config from the keys of its file, each within its limits.
#pragma once

#include "io/model_file.h"
#include "models/config.h"

namespace q3e {

// Of "qwen3edge.KEY": a multiple of `unit` up to `limit`. Throws Error(bad_file).
uint32_t read_number(const ModelFile& file, const char* key, uint32_t unit, uint32_t limit);

// What every architecture has: the vocabulary, widths and the number of layers, with the norm's epsilon and whether the head is
// the embedding. Throws Error(bad_file).
void read_common(const ModelFile& file, ModelConfig& config);
// Heads of softmax attention. Throws Error(bad_file).
void read_attention(const ModelFile& file, ModelConfig& config);
// Experts, of which a router chooses. Throws Error(bad_file).
void read_experts(const ModelFile& file, ModelConfig& config);

}  // namespace q3e
