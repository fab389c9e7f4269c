// The handles of settings and of sampling.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "qwen3edge.h"
#include "runtime/plan.h"
#include "runtime/sampler.h"

struct q3e_settings {
  q3e::PlanRequest plan;
  std::optional<uint32_t> draft_tokens;  // none: as many as are usual
  std::string draft;                     // the path of a draft model; empty: none
  bool texts = true;
  bool verify = false;
  q3e_on_progress on_progress = nullptr;
  void* progress_data = nullptr;

  // Throws Error(cancelled) where the caller ends the load.
  void tell(uint64_t done, uint64_t all) const;
};

struct q3e_sampling {
  std::optional<float> repetition_penalty, frequency_penalty, presence_penalty, temperature, top_p, min_p;
  std::optional<uint32_t> top_k;
  std::vector<q3e::LogitBias> logit_bias;

  // Changes what is set.
  void apply(q3e::SamplingParameters& parameters) const;
};
