// Qwen3.5, 3.6 and 3.8: gated delta nets, with gated attention in every fourth layer.
#pragma once

#include "io/model_file.h"
#include "models/block.h"

namespace q3e {

// (delta net or gated attention, dense) for each layer. Throws Error: bad_file, unsupported_model.
Model build_qwen3_5(const ModelFile& file);
// (delta net or gated attention, experts with a shared one) for each layer.
Model build_qwen3_5_moe(const ModelFile& file);

}  // namespace q3e
