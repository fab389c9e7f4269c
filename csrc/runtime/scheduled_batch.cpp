#include "runtime/scheduled_batch.h"

#include <algorithm>
#include <utility>

namespace q3e {

ScheduledBatch::ScheduledBatch(std::vector<Row> rows, const EngineLimits& limits)
    : rows_(std::move(rows)), vocabulary_(limits.vocabulary), width_(limits.width) {
  for (Row& row : rows_) {
    Generation& g = *row.generation;
    for (uint32_t at = g.computed_; at < g.computed_ + row.count; ++at) {
      const bool last = row.ends && at + 1 == g.size(), states = last && g.request_.state, picks = last && !states;
      const bool scores = row.scores && at + 1 >= g.scored_ && at + 1 < g.prompt_size();
      add(row, g.tokens_[at], at, states ? kWantHidden : scores || picks ? kWantLogits : 0);
      if (states) states_.push_back({&g});
      if (scores || picks) outcomes_.push_back({&g, at + 1, scores ? g.tokens_[at + 1] : -1, picks});
    }
    const size_t behind = outcomes_.size();
    for (uint32_t i = 0; i < row.drafted; ++i) outcomes_.push_back({&g, g.size() + i + 1, -1, true, true});
    if (g.request_.constraint && behind > 0 && outcomes_[behind - 1].generation == &g && outcomes_[behind - 1].picked)
      constrain(row, behind - 1);
    for (uint32_t i = 0; i < row.drafted; ++i) add(row, g.drafts_->tokens()[i], g.size() + i, kWantLogits);
    prompt_tokens_ += row.count > 1 ? row.count : 0;
    drafted_ += row.drafted;
  }
}

void ScheduledBatch::add(const Row& row, int32_t token, uint32_t position, uint8_t want) {
  tokens_.push_back(token);
  positions_.push_back(static_cast<int32_t>(position));
  sequences_.push_back(static_cast<int32_t>(*row.generation->sequence_));
  want_.push_back(want);
}

// What may be picked, for the outcomes from `first` on: one of the answer, and one behind each draft token that is allowed. None
// is drafted that ends the answer: not every grammar goes back behind its end.
void ScheduledBatch::constrain(Row& row, size_t first) {
  Generation& g = *row.generation;
  Constraint& constraint = *g.request_.constraint;
  uint32_t allowed = 0;
  try {
    if (g.ahead_ > 0) constraint.rewind(std::exchange(g.ahead_, 0));
    outcomes_[first].mask = constraint.allow(std::span(g.tokens_).subspan(g.prompt_size() + g.constrained_));
    g.constrained_ = g.completion();
    for (; allowed < row.drafted; ++allowed) {
      std::optional<TokenMask>& mask = outcomes_[first + allowed].mask;
      const int32_t token = g.drafts_->tokens()[allowed];
      const auto& ends = g.request_.stop_tokens;
      row.refused = mask && !mask->allows(static_cast<size_t>(token));
      if (row.refused || std::find(ends.begin(), ends.end(), token) != ends.end()) break;
      if (mask) mask->words = masks_.emplace_back(mask->words, mask->words + mask->count).data();
      outcomes_[first + allowed + 1].mask = constraint.allow({&token, 1});
      ++g.ahead_;
    }
  } catch (...) {
    outcomes_[first].error = std::current_exception();
  }
  if (allowed == row.drafted) return;
  row.drafted = allowed;
  g.drafts_->shorten(allowed);
  outcomes_.resize(first + 1 + allowed);
}

void ScheduledBatch::compute(BatchEngine& engine, std::vector<float>& logits, CancelFlag& cancel) {
  std::vector<const CancelFlag*> flags;
  for (const Row& row : rows_) {
    const Generation& g = *row.generation;
    flags.push_back(g.by_hand() ? g.extension_.cancel : &g.abandoned_);
  }
  cancel.follow(std::move(flags));
  logits.resize(outcomes_.size() * vocabulary_);
  std::vector<float> hidden(states_.size() * width_);
  engine.forward({tokens_.data(), positions_.data(), sequences_.data(), want_.data(), tokens_.size()}, logits.data(),
                 states_.empty() ? nullptr : hidden.data(), &cancel);
  for (size_t i = 0; i < states_.size(); ++i)
    states_[i].values.assign(hidden.data() + i * width_, hidden.data() + (i + 1) * width_);
  engine.for_each(static_cast<uint32_t>(outcomes_.size()), [&](uint32_t i) {
    Outcome& outcome = outcomes_[i];
    if (outcome.error || outcome.drafted) return;
    make(outcome, logits.data() + size_t{i} * vocabulary_);
    if (outcome.picked) make_behind_drafts(i, logits.data());
  });
}

// What is picked behind each guess, as long as they are right. The sampler counts them one after the other, and forgets them:
// they are appended later, if nothing ends the answer before.
void ScheduledBatch::make_behind_drafts(size_t first, const float* logits) {
  const Generation& g = *outcomes_[first].generation;
  const auto drafts = g.drafts_ ? g.drafts_->tokens() : std::span<const int32_t>{};
  const size_t counted = g.request_.sampler ? g.request_.sampler->accepted() : 0;
  for (size_t i = 0; i < drafts.size() && outcomes_[first + i].token == drafts[i]; ++i) {
    g.request_.sampler->accept(drafts[i], true);
    make(outcomes_[first + i + 1], logits + (first + i + 1) * vocabulary_);
  }
  if (!drafts.empty()) g.request_.sampler->truncate(counted);
}

void ScheduledBatch::make(Outcome& outcome, const float* logits) const {
  const Generation& g = *outcome.generation;
  outcome.made = true;
  if (g.by_hand()) {
    if (g.extension_.logits) std::copy(logits, logits + vocabulary_, g.extension_.logits);
    return;
  }
  const GenerationRequest& request = g.request_;
  try {
    if (outcome.picked) outcome.token = request.sampler->sample(logits, outcome.mask ? &*outcome.mask : nullptr);
    if (const auto top = outcome.picked ? request.logprobs : request.prompt_logprobs)
      outcome.logprobs = request.sampler->logprobs(logits, outcome.token, *top);
  } catch (...) {
    outcome.error = std::current_exception();
  }
}

}  // namespace q3e
