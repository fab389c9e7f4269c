// Qwen2, Qwen3 (Yang et al. 2024, 2025) and Qwen3-MoE.
#pragma once

#include "io/model_file.h"
#include "models/block.h"

namespace q3e {

// (attention, dense) for each layer. Throws Error: bad_file, unsupported_model.
Model build_qwen3(const ModelFile& file);
// (attention, experts) for each layer.
Model build_qwen3_moe(const ModelFile& file);

}  // namespace q3e
