#include "runtime/draft_plan.h"

#include <algorithm>
#include <string>

#include "base/error.h"
#include "runtime/draft_model.h"
#include "runtime/process_memory.h"

namespace q3e {
namespace {

constexpr uint64_t kLogit = 4;  // bytes

Error bad(const std::string& text) { return {Status::bad_argument, "draft: expected a model " + text}; }

}  // namespace

DraftPlan plan_draft(const ModelFile& draft, const Model& own, const ModelFile& target, const PlanRequest& request) {
  const ModelConfig& config = own.config;
  if (config.headless) throw bad("with a head, found one for embeddings alone");
  if (config.context_length < request.context)
    throw bad("that knows " + std::to_string(request.context) + " positions, as the context has, found " +
              std::to_string(config.context_length) + ": load with a context of " + std::to_string(config.context_length));
  if (!same_vocabulary(target, draft)) throw bad("with the same tokens, found one with others: take one of the same family");
  if (state_of(own, request.kv).fixed_bytes > 0)
    throw Error(Status::unsupported_model,
                "draft: expected a model whose cache can be cut at any token, found one with a state that cannot go back");
  PlanRequest r = request;
  r.draft_tokens = 0;
  r.program = 1;  // it is counted with the model that it drafts for
  r.later = 0;
  r.min_expert_share = 0;
  if (r.memory == 0) r.memory = default_budget();
  const MemoryPlan plan = make_plan(draft, own, r);
  if (plan.buffers > 0)
    throw Error(Status::over_budget, "draft: expected a model that fits the budget of " + mebibytes(r.memory) +
                                         " MiB beside the other, found one that would take " +
                                         mebibytes(plan.peak + plan.streamed) + " MiB by itself");
  const uint64_t vocabulary = std::max(config.vocab_size, target.u32("qwen3edge.vocab_size"));
  return {r,
          plan.weights + plan.kv_cache + plan.scratch + plan.settings.threads * kThreadBytes + r.sequences * vocabulary * kLogit};
}

}  // namespace q3e
