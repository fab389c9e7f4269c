// The architectures: one row for each model type that a file can name.
#pragma once

#include <vector>

#include "io/model_file.h"
#include "models/block.h"

namespace q3e {

struct Architecture {
  const char* model_type;  // "qwen3edge.model_type" of a file
  Model (*build)(const ModelFile& file);
};

// Tests may add their own before they open a file.
std::vector<Architecture>& architectures();

// The model in a file, held against its tensors. Throws Error: unsupported_model for another model type, bad_file for a value out
// of range and for tensors that are absent, unexpected or of another shape.
Model read_model(const ModelFile& file);

}  // namespace q3e
