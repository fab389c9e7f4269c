#include "capi/draft.h"

#include <algorithm>
#include <string>

#include "base/error.h"
#include "models/architectures.h"
#include "runtime/draft_model.h"
#include "runtime/process_memory.h"

namespace q3e::capi {
namespace {

constexpr uint64_t kThread = 160 << 10, kLogit = 4;  // bytes: a thread's stack and books

Error bad(const std::string& text) { return {Status::bad_argument, "draft: expected a model " + text}; }

}  // namespace

DraftRequest draft_request(const ModelFile& draft, const ModelFile& model, const PlanRequest& request) {
  const Model own = read_model(draft);
  if (own.config.headless) throw bad("with a head, found one for embeddings alone");
  if (own.config.context_length < request.context)
    throw bad("that knows " + std::to_string(request.context) + " positions, as the context has, found " +
              std::to_string(own.config.context_length));
  if (!same_vocabulary(model, draft)) throw bad("with the same tokens, found one with others: take one of the same family");
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
    throw Error(Status::over_budget, "draft: expected a model that fits the budget of " + std::to_string(r.memory >> 20) +
                                         " MiB beside the other, found one that would take " +
                                         std::to_string((plan.peak + plan.streamed) >> 20) + " MiB by itself");
  const uint64_t vocabulary = std::max(own.config.vocab_size, model.u32("qwen3edge.vocab_size"));
  return {r, plan.weights + plan.kv_cache + plan.scratch + plan.settings.threads * kThread + r.sequences * vocabulary * kLogit};
}

}  // namespace q3e::capi
