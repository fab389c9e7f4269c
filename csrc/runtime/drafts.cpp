#include "runtime/drafts.h"

#include <algorithm>

namespace q3e {

std::span<const int32_t> Drafts::propose(std::span<const int32_t> tokens, uint32_t most, Step& step) {
  proposed_.clear();
  const PromptLookup::Found found = lookup_.find(tokens);
  if (found.agreed == 0 || most == 0) return proposed_;
  rate_ = rates_ + (found.agreed >= kLongAgreement);
  most = std::min(most, static_cast<uint32_t>(tokens.size()) - found.begin);
  double likely = rate_->right;
  uint32_t count = 0;
  // Another guess is worth its time if it gives tokens at a better rate than the step does without it.
  for (; count < most && likely * step.time > step.cost * step.tokens; likely *= rate_->right) {
    step.tokens += likely;
    step.time += step.cost;
    ++count;
  }
  if (count == 0 && ++rate_->passed >= kProbe) count = 1;
  if (count > 0) rate_->passed = 0;
  const auto begin = tokens.begin() + found.begin;
  proposed_.assign(begin, begin + count);
  return proposed_;
}

void Drafts::learn(uint32_t right, uint32_t checked) {
  constexpr double kWeight = 0.125;  // of one guess
  for (uint32_t i = 0; i < checked; ++i) rate_->right += kWeight * ((i < right) - rate_->right);
}

}  // namespace q3e
