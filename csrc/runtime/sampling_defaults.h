// How a model's answers are sampled when nobody says otherwise.
#pragma once

#include "io/model_file.h"
#include "runtime/sampler.h"

namespace q3e {

// Qwen's advice for Qwen3, for answers with thinking or without; seed 0.
SamplingParameters advised_sampling(bool thinking);

// What the file's own keys `qwen3edge.sampling.*` say, the advice for what they do not. Greedy thinking loops, so a temperature
// of 0 is not taken for it. Throws Error(bad_file) for a value of another type or out of range.
SamplingParameters stored_sampling(const ModelFile& file, bool thinking);

}  // namespace q3e
