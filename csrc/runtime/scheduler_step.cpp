// A step of the scheduler: who leaves, who starts, what is computed, what came of it.
#include <algorithm>
#include <string>
#include <utility>

#include "base/error.h"
#include "exec/prefix_cache.h"
#include "runtime/scheduler.h"

namespace q3e {
namespace {

// A step in which answers wait for their next token takes at most so long, or so many times what it takes without prompts.
constexpr double kLongestStep = 0.1, kMostDecodeSteps = 4;
constexpr double kAim = 0.5;             // of that, as steps vary
constexpr uint32_t kWorthWaiting = 16;   // tokens
constexpr size_t kPassedBy = 64;         // that wait for a beginning, in one step: each is compared with all that run
constexpr double kLeastRight = 0.3;      // of a draft model's tokens, is expected of an answer that begins
constexpr uint32_t kShareOfContext = 8;  // of a context is expected for an answer whose length nobody said

}  // namespace

// False when there are requests and none can start: others hold all sequences.
bool Scheduler::step(Lock& lock) {
  ++steps_;
  finish_ended();
  admit();
  std::vector<Row> rows = choose_rows();
  if (make_room(rows)) run(std::move(rows), lock);
  finish_ended();
  return waiting_.empty() || !running_.empty();
}

// Those whose reader has gone, or who failed, leave.
void Scheduler::finish_ended() {
  const auto ended = [&](const Held& g) {
    if ((g->cancelled_ || g->abandoned_.is_set()) && g->finish_ == Finish::running) g->end(Finish::cancelled);
    if (g->finish_ == Finish::running) {
      if (g->by_hand() && !g->idle() && g->extension_.cancel->is_set())
        take_back(*g, std::make_exception_ptr(
                          Error(Status::cancelled, "forward: cancelled, and the tokens of this call were taken back")));
      return g->idle() && !g->sequence_;
    }
    release(*g);
    return true;
  };
  std::erase_if(running_, ended);
  std::erase_if(waiting_, ended);
}

void Scheduler::release(Generation& g) {
  if (!g.sequence_) return;
  engine_.keep(*g.sequence_, std::span(g.tokens_).first(g.computed_));
  engine_.truncate(*g.sequence_, 0);
  if (draft_model_ && g.drafts_) {
    draft_model_->end(*g.sequence_, g.tokens_);
    model_right_ = (model_right_ + g.drafts_->model_right()) / 2;
  }
  free_.push_back(*g.sequence_);
  g.sequence_.reset();
  g.drafts_.reset();
  g.computed_ = 0;
}

// A sequence that is continued by hand, and for which nothing is to be computed now, gives its place up: what it holds is kept as
// long as nobody needs the memory, and computed again otherwise. False when there is none.
bool Scheduler::release_idle() {
  const auto idle = std::find_if(running_.begin(), running_.end(), [](const Held& g) { return g->idle(); });
  if (idle == running_.end()) return false;
  release(**idle);
  running_.erase(idle);
  return true;
}

// What is being appended by hand is not: `error` tells its owner.
void Scheduler::take_back(Generation& g, std::exception_ptr error) {
  uint32_t begin = g.extension_.begin;
  if (g.sequence_ && g.computed_ > begin) g.computed_ = begin = engine_.truncate(*g.sequence_, begin);
  g.tokens_.resize(begin);
  g.error_ = error;
  g.has_news_ = true;
}

void Scheduler::fail(std::span<const Row> rows, std::exception_ptr error) {
  for (const Row& row : rows) {
    Generation& g = *row.generation;
    if (g.by_hand()) {
      take_back(g, error);
      continue;
    }
    g.error_ = error;
    g.end(Finish::failed);
  }
}

// ---- who starts ----

// Tokens that an answer may grow to before others must make room for it.
uint32_t Scheduler::promised(const Generation& g) const {
  const uint64_t answer = g.request_.state        ? 0
                          : g.request_.max_tokens ? g.request_.max_tokens
                                                  : limits_.context / kShareOfContext;
  return std::max(static_cast<uint32_t>(std::min<uint64_t>(limits_.context, g.prompt_size() + answer)), g.size());
}

// The first in the queue starts as long as there are a sequence and pages for it; while there are none, nobody overtakes it. One
// that waits for its beginning is passed by, as it would leave them unused: it waits for those alone that came before it, so that
// nobody who passes it keeps it waiting, and then it is the first again. So nobody starves.
void Scheduler::admit() {
  for (size_t at = 0; at < std::min(waiting_.size(), kPassedBy) && (!free_.empty() || release_idle());) {
    if (waits_for_beginning(*waiting_[at])) {
      ++at;
      continue;
    }
    if (!start(*waiting_[at])) return;
    running_.push_back(std::move(waiting_[at]));
    waiting_.erase(waiting_.begin() + static_cast<std::ptrdiff_t>(at));
  }
}

// Whether one that came before it reads tokens that it can share then.
bool Scheduler::waits_for_beginning(const Generation& g) {
  const auto tokens = g.reusable();
  for (const Held& other : running_) {
    if (other->number_ >= g.number_ || other->left() <= 1 || other->idle()) continue;
    const uint32_t shared = common_length(other->tokens_, tokens.first(tokens.size() - 1));
    if (shared <= std::min(shared, other->computed_) + kWorthWaiting) continue;
    if (limits_.snapshot_unit > 0) other->mark(shared, limits_.snapshot_unit);
    return true;
  }
  return false;
}

// False where its pages do not fit.
bool Scheduler::start(Generation& g) {
  const auto tokens = g.reusable();
  // What others have can be shared: all but the last token, whose logits are needed.
  Generation* best = nullptr;
  uint32_t most = 0;
  for (const Held& other : running_) {
    const uint32_t there = common_length(std::span(other->tokens_).first(other->computed_), tokens.first(tokens.size() - 1));
    if (there > most) best = other.get(), most = there;
  }
  const uint32_t sequence = engine_.choose(free_, tokens);
  g.computed_ = engine_.reuse(sequence, tokens);
  if (most > g.computed_) {
    most = engine_.share(*best->sequence_, sequence, most);
    if (most <= g.computed_) g.computed_ = engine_.reuse(sequence, tokens);  // where less could be shared than seemed
  }
  const bool from_other = most > g.computed_;
  if (from_other) g.computed_ = most;
  uint64_t to_come = engine_.needed_pages(sequence, g.computed_, promised(g));
  for (const Held& other : running_)
    if (!other->idle()) to_come += engine_.needed_pages(*other->sequence_, other->computed_, promised(*other));
  while (to_come > engine_.available_pages() && release_idle()) {
  }
  if (to_come > engine_.available_pages() && !running_.empty()) {
    engine_.truncate(sequence, 0);
    g.computed_ = 0;
    return false;
  }
  g.sequence_ = sequence;
  if (limits_.draft_tokens > 0 && g.request_.sampler && (!g.request_.constraint || g.request_.constraint->rewinds())) {
    g.drafts_ = std::make_unique<Drafts>(limits_.context, std::max(model_right_, kLeastRight));
    if (draft_model_) draft_model_->begin(sequence, tokens);
    if (draft_model_ && from_other && best->drafts_) draft_model_->share(*best->sequence_, sequence, most);
  }
  std::erase(free_, sequence);
  if (g.started_ == Clock::time_point{}) {
    g.started_ = Clock::now();
    g.cached_ = std::min(g.computed_, g.prompt_size());
  }
  return true;
}

// ---- what is computed ----

// How many tokens of prompts a step takes in which so many answers decode.
uint32_t Scheduler::prompt_tokens_beside(uint32_t decoding) const {
  if (decoding == 0) return limits_.chunk;
  const uint32_t most = limits_.chunk - std::min(limits_.chunk - 1, decoding);
  if (token_seconds_ <= 0) return std::min(most, limits_.page_tokens);
  const double left = kAim * std::max(kLongestStep, kMostDecodeSteps * decode_seconds_) - decode_seconds_;
  const auto least = std::min<double>(kEnoughToLearn, most);
  return static_cast<uint32_t>(std::clamp(left / token_seconds_, least, static_cast<double>(most)));
}

std::vector<Scheduler::Row> Scheduler::choose_rows() {
  std::vector<Row> rows;
  std::vector<Generation*> reading;
  for (const Held& g : running_) {
    if (g->idle()) continue;
    if (g->drafts_) g->drafts_->clear();
    if (g->left() == 1)
      rows.push_back({g.get(), 1, true, g->scores()});
    else
      reading.push_back(g.get());
  }
  if (reading.empty()) draft(rows);
  // In turns, so that a short prompt does not wait for the end of a long one.
  std::stable_sort(reading.begin(), reading.end(), [](const auto* a, const auto* b) { return a->served_ < b->served_; });
  uint32_t tokens = prompt_tokens_beside(static_cast<uint32_t>(rows.size()));
  // The plan has logits for a row of each sequence: those of sequences that want none in this step are left for scores.
  uint32_t spare = limits_.sequences - static_cast<uint32_t>(rows.size() + reading.size());
  for (Generation* g : reading) {
    uint32_t count = g->next(tokens);
    if (count == 0) break;
    if (g->scores()) {
      count = std::min(count, 1 + spare);
      spare -= count - 1;
    }
    rows.push_back({g, count, count == g->left(), g->scores()});
    g->served_ = steps_;
    tokens -= count;
  }
  return rows;
}

// The youngest go back to the queue until the others' pages fit; they come to the same tokens later. False when nothing is left.
bool Scheduler::make_room(std::vector<Row>& rows) {
  for (;;) {
    uint64_t needed = 0;
    for (const Row& row : rows) {
      const Generation& g = *row.generation;
      needed += engine_.needed_pages(*g.sequence_, g.computed_, g.computed_ + row.count);
    }
    if (needed <= engine_.available_pages()) return !rows.empty();
    if (release_idle()) continue;
    const auto youngest =
        std::max_element(running_.begin(), running_.end(), [](const Held& a, const Held& b) { return a->number_ < b->number_; });
    if (running_.size() == 1) {
      Generation& g = *running_.front();
      // Its last page is kept as well, and the copy would be the one page too many: it is computed again.
      if (engine_.needed_pages(*g.sequence_, g.computed_, g.computed_) > 0) {
        g.computed_ = engine_.truncate(*g.sequence_, g.computed_ / limits_.page_tokens * limits_.page_tokens);
        return false;
      }
      fail(rows, std::make_exception_ptr(
                     Error(Status::over_budget, "expected " + std::to_string(needed) + " more pages of the KV cache, found " +
                                                    std::to_string(engine_.available_pages()) +
                                                    " free: the others are held by those who drive the engine themselves")));
      return false;
    }
    Generation* back = youngest->get();
    release(*back);
    ++preemptions_;
    std::erase_if(rows, [&](const Row& row) { return row.generation == back; });
    waiting_.push_front(std::move(*youngest));
    running_.erase(youngest);
  }
}

}  // namespace q3e
