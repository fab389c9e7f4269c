// What a model and a smaller one that drafts for it ask of the memory.
#pragma once

#include <cstdint>

#include "io/model_file.h"
#include "runtime/plan.h"

namespace q3e::capi {

struct DraftRequest {
  PlanRequest plan;
  uint64_t bytes;  // all that it will take
};

// Of `draft`, beside a model that is loaded as `request` says, whose context and sequences it shares. Throws Error: bad_argument
// for other tokens, a shorter context or no head; unsupported_model for one that cannot go back token by token; over_budget where
// its weights would not stay in memory.
DraftRequest draft_request(const ModelFile& draft, const ModelFile& model, const PlanRequest& request);

}  // namespace q3e::capi
