// The computed part of a scheduler's step, and what came of it.
#include <algorithm>
#include <utility>

#include "runtime/scheduler.h"

namespace q3e {

void Scheduler::run(std::vector<Row> rows, Lock& lock) {
  cancel_.clear();
  cancel_.follow({});
  lock.unlock();
  const auto began = Clock::now();
  std::exception_ptr error;
  bool cancelled = false;
  std::optional<ScheduledBatch> batch;
  try {
    if (draft_model_) ask_draft_model(rows);
    batch.emplace(rows, limits_).compute(engine_, logits_, cancel_);
  } catch (const Error& e) {
    cancelled = e.status() == Status::cancelled;
    error = std::current_exception();
  } catch (...) {
    error = std::current_exception();
  }
  const double seconds = std::chrono::duration<double>(Clock::now() - began).count();
  lock.lock();
  if (error) {
    for (const Row& row : rows) row.generation->computed_ = engine_.length(*row.generation->sequence_);
    forget_drafts(rows);
    if (!cancelled) fail(rows, error);
    return;
  }
  learn(*batch, seconds);
  settle(*batch);
}

void Scheduler::learn(const ScheduledBatch& batch, double seconds) {
  const uint32_t of_prompts = batch.prompt_tokens();
  if (batch.drafted() > 0) {
    learn_cost_of_drafts(batch.drafted(), seconds - drafting_seconds_);
  } else if (of_prompts == 0) {
    seconds -= drafting_seconds_;  // in which the draft model read what it had missed
    decode_seconds_ = decode_seconds_ > 0 ? (decode_seconds_ + seconds) / 2 : seconds;
  } else if (of_prompts >= kEnoughToLearn) {
    const double beside = of_prompts < batch.tokens() ? decode_seconds_ : 0;
    const double found = std::max(seconds - beside, seconds / 16) / of_prompts;
    // What took longer counts at once, what took less by and by.
    token_seconds_ = std::max(found, 0.8 * token_seconds_ + 0.2 * found);
  }
}

void Scheduler::settle(ScheduledBatch& batch) {
  for (const Row& row : batch.rows()) {
    Generation& g = *row.generation;
    g.computed_ += row.count;
    g.read_ = std::max(g.read_, std::min(g.computed_, g.prompt_size()));
    if (row.count > 1)
      engine_.keep(*g.sequence_, std::span(g.tokens_).first(g.computed_ / limits_.page_tokens * limits_.page_tokens));
    if (std::binary_search(g.marks_.begin(), g.marks_.end(), g.computed_))
      engine_.snapshot(*g.sequence_, std::span(g.tokens_).first(g.computed_));
    g.has_news_ = g.has_news_ || (g.by_hand() ? row.ends : row.count > 1);
  }
  for (ScheduledBatch::State& state : batch.states()) {
    Generation& g = *state.generation;
    if (!g.cancelled_ && g.finish_ == Finish::running) g.finish(std::move(state.values));
  }
  for (ScheduledBatch::Outcome& outcome : batch.outcomes()) {
    Generation& g = *outcome.generation;
    if (g.by_hand() || g.cancelled_ || g.finish_ != Finish::running) continue;
    // Behind a draft that was wrong, or in whose place or behind which something else was appended: the end of thoughts.
    if (outcome.drafted && (!outcome.made || outcome.at != g.size() ||
                            g.tokens_[outcome.at - 1] != g.drafts_->tokens()[outcome.at - 1 - g.computed_]))
      continue;
    if (outcome.error) {
      g.error_ = outcome.error;
      g.end(Finish::failed);
    } else if (!outcome.picked) {
      ++g.scored_;
      g.news_.prompt_logprobs.push_back(std::move(outcome.logprobs));
      g.has_news_ = true;
    } else {
      if (g.request_.logprobs) g.news_.logprobs.push_back(std::move(outcome.logprobs));
      g.append(outcome.token, limits_.context);
    }
  }
  for (const Row& row : batch.rows()) {
    Generation& g = *row.generation;
    if (row.drafted > 0 || row.refused) settle_drafts(g, row.refused);
    if (row.asked > 0) draft_model_->cut(*g.sequence_, g.computed_);  // also where a constraint left no draft token
  }
}

}  // namespace q3e
