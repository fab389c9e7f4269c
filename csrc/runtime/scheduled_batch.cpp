#include "runtime/scheduled_batch.h"

#include <algorithm>
#include <utility>

namespace q3e {

ScheduledBatch::ScheduledBatch(std::vector<Row> rows, const EngineLimits& limits)
    : rows_(std::move(rows)), vocabulary_(limits.vocabulary), width_(limits.width) {
  for (const Row& row : rows_) {
    Generation& g = *row.generation;
    for (uint32_t at = g.computed_; at < g.computed_ + row.count; ++at) {
      const bool last = row.ends && at + 1 == g.size(), states = last && g.request_.state, picks = last && !states;
      const bool scores = row.scores && at + 1 >= g.scored_ && at + 1 < g.prompt_size();
      tokens_.push_back(g.tokens_[at]);
      positions_.push_back(static_cast<int32_t>(at));
      sequences_.push_back(static_cast<int32_t>(*g.sequence_));
      want_.push_back(states ? kWantHidden : scores || picks ? kWantLogits : 0);
      if (states) states_.push_back({&g});
      if (scores || picks) outcomes_.push_back({&g, scores ? g.tokens_[at + 1] : -1, picks});
    }
    prompt_tokens_ += row.count > 1 ? row.count : 0;
  }
}

void ScheduledBatch::compute(BatchEngine& engine, std::vector<float>& logits, CancelFlag& cancel) {
  for (Outcome& outcome : outcomes_) {
    Generation& g = *outcome.generation;
    Constraint* constraint = g.request_.constraint.get();
    if (!outcome.picked || !constraint) continue;
    try {
      outcome.mask = constraint->allow(std::span(g.tokens_).subspan(g.prompt_size() + g.constrained_));
      g.constrained_ = g.completion();
    } catch (...) {
      outcome.error = std::current_exception();
    }
  }
  std::vector<const CancelFlag*> flags;  // of sequences that are continued by hand, if there are no others
  for (const Row& row : rows_)
    if (row.generation->by_hand()) flags.push_back(row.generation->extension_.cancel);
  if (flags.size() == rows_.size()) cancel.follow(std::move(flags));
  logits.resize(outcomes_.size() * vocabulary_);
  std::vector<float> hidden(states_.size() * width_);
  engine.forward({tokens_.data(), positions_.data(), sequences_.data(), want_.data(), tokens_.size()}, logits.data(),
                 states_.empty() ? nullptr : hidden.data(), &cancel);
  for (size_t i = 0; i < states_.size(); ++i)
    states_[i].values.assign(hidden.data() + i * width_, hidden.data() + (i + 1) * width_);
  engine.for_each(static_cast<uint32_t>(outcomes_.size()), [&](uint32_t i) {
    Outcome& outcome = outcomes_[i];
    if (outcome.error) return;
    try {
      make(outcome, logits.data() + size_t{i} * vocabulary_);
    } catch (...) {
      outcome.error = std::current_exception();
    }
  });
}

void ScheduledBatch::make(Outcome& outcome, const float* logits) const {
  const Generation& g = *outcome.generation;
  if (g.by_hand()) {
    if (g.extension_.logits) std::copy(logits, logits + vocabulary_, g.extension_.logits);
    return;
  }
  const GenerationRequest& request = g.request_;
  if (outcome.picked) outcome.token = request.sampler->sample(logits, outcome.mask ? &*outcome.mask : nullptr);
  if (const auto top = outcome.picked ? request.logprobs : request.prompt_logprobs)
    outcome.logprobs = request.sampler->logprobs(logits, outcome.token, *top);
}

}  // namespace q3e
