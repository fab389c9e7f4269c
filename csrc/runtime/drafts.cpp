#include "runtime/drafts.h"

#include <algorithm>
#include <cmath>

namespace q3e {

uint32_t Drafts::propose(std::span<const int32_t> tokens, uint32_t most, Step& step) {
  proposed_.clear();
  const PromptLookup::Found found = lookup_.find(tokens);
  if (most == 0) return 0;
  Rate& looked_up = found.agreed >= kLongAgreement ? long_ : short_;
  const bool asks = std::isfinite(step.model_cost);
  if (found.agreed > 0 && !(asks && model_.right > looked_up.right)) {
    rate_ = &looked_up;
    const uint32_t count = worth(looked_up, std::min(most, static_cast<uint32_t>(tokens.size()) - found.begin), step.cost, step);
    const auto begin = tokens.begin() + found.begin;
    proposed_.assign(begin, begin + count);
    if (count > 0) return 0;
  }
  if (!asks) return 0;
  rate_ = &model_;
  return worth(model_, most, step.cost + step.model_cost, step);
}

// Another guess is worth its time if it gives tokens at a better rate than the step does without it.
uint32_t Drafts::worth(Rate& rate, uint32_t most, double cost, Step& step) {
  uint32_t count = 0;
  for (double likely = rate.right; count < most && likely * step.time > cost * step.tokens; likely *= rate.right) {
    step.tokens += likely;
    step.time += cost;
    ++count;
  }
  if (count == 0 && ++rate.passed >= rate.probe) count = 1;
  if (count > 0) rate.passed = 0;
  return count;
}

void Drafts::learn(uint32_t right, uint32_t checked) {
  constexpr double kWeight = 0.125;  // of one guess
  for (uint32_t i = 0; i < checked; ++i) rate_->right += kWeight * ((i < right) - rate_->right);
}

}  // namespace q3e
