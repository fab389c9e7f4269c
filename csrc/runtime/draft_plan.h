// What a smaller model that drafts for another one asks of the memory.
#pragma once

#include <cstdint>

#include "io/model_file.h"
#include "models/block.h"
#include "runtime/plan.h"

namespace q3e {

struct DraftPlan {
  PlanRequest request;  // to load it with
  uint64_t bytes;       // all that it will take
};

// Of `own`, the model in the file `draft`, beside that in `target`, which is loaded as `request` says and whose context and
// sequences it shares. Throws Error: bad_argument for other tokens, a shorter context or no head; unsupported_model for one that
// cannot go back token by token; over_budget where its weights would not stay in memory.
DraftPlan plan_draft(const ModelFile& draft, const Model& own, const ModelFile& target, const PlanRequest& request);

}  // namespace q3e
