#include "runtime/scheduler.h"

#include <algorithm>
#include <string>
#include <utility>

#include "base/error.h"

namespace q3e {
namespace {

constexpr std::chrono::milliseconds kLookForCancel{50};  // a signal's handler sets a flag and can wake nobody

Error bad(const std::string& text) { return {Status::bad_argument, text}; }

}  // namespace

Scheduler::Scheduler(BatchEngine& engine, BatchEngine* draft, uint32_t most_waiting)
    : engine_(engine), limits_(engine.limits()), most_waiting_(most_waiting) {
  if (draft) draft_model_.emplace(*draft, limits_);
  for (uint32_t s = 0; s < limits_.sequences; ++s) free_.push_back(s);
}

void Scheduler::enter() {
  if (changed_.get_deleter().at_home()) return;
  if (spoilt())
    throw bad("fork: expected a model that no thread was using when the process forked, found one in a call: load it again");
  changed_ = make_at_home<std::condition_variable_any>();
}

void Scheduler::require_open() const {
  if (closed_) throw bad("expected an open model, found a closed one");
}

void Scheduler::require_outside_step() const {
  if (driven_ && driver_ == std::this_thread::get_id())
    throw bad(
        "expected a call outside of a step, found one that would wait for the step in which it is made: a mask or an "
        "observer waits for no answer and closes none");
}

void Scheduler::require_tokens(const char* name, std::span<const int32_t> tokens) const {
  for (const int32_t token : tokens)
    if (token < 0 || static_cast<uint32_t>(token) >= limits_.vocabulary)
      throw bad(std::string(name) + ": expected token ids from 0 to " + std::to_string(limits_.vocabulary - 1) + ", found " +
                std::to_string(token));
}

// ---- answers ----

Scheduler::Held Scheduler::submit(GenerationRequest request) {
  const size_t size = request.prompt.size();
  if (size == 0) throw bad("prompt: expected at least one token, found none");
  if (size + !request.state > limits_.context)  // an answer has a token
    throw bad(std::string("prompt: expected ") + (request.state ? "at most " : "fewer than ") + std::to_string(limits_.context) +
              " tokens (the context), found " + std::to_string(size));
  if (request.state && limits_.width == 0)
    throw bad("embeddings: expected a model on the CPU, found one on another device, which gives logits alone");
  require_tokens("prompt", request.prompt);
  if (request.sampler && request.sampler->vocabulary() != limits_.vocabulary)
    throw bad("sampler: expected one for " + std::to_string(limits_.vocabulary) + " logits, found one for " +
              std::to_string(request.sampler->vocabulary()));
  if (const uint32_t need = limits_.pages_for(size + !request.state); need > limits_.pages)
    throw Error(Status::over_budget, "prompt: expected at most " + std::to_string(limits_.pages) + " pages of " +
                                         std::to_string(limits_.page_tokens) + " tokens, found a need of " +
                                         std::to_string(need));
  const Lock lock(mutex_);
  enter();
  require_open();
  if (waiting_.size() >= most_waiting_)  // those whose reader has gone need no step to leave
    std::erase_if(waiting_, [](const Held& g) {
      const bool abandoned = g->abandoned_.is_set();
      if (abandoned) g->end(Finish::cancelled);
      return abandoned;
    });
  if (waiting_.size() >= most_waiting_)
    throw Error(Status::busy, "expected at most " + std::to_string(most_waiting_) + " requests in the queue, found it full");
  Held generation(new Generation(std::move(request), ++number_));
  generation->begin(limits_.context);
  mark(*generation);
  waiting_.push_back(generation);
  return generation;
}

// Where a state of a prompt is worth keeping, of an engine that goes back to snapshots alone.
void Scheduler::mark(Generation& g) const {
  if (limits_.snapshot_unit == 0) return;
  for (const uint32_t boundary : g.request_.boundaries) g.mark(boundary, limits_.snapshot_unit);
  for (uint32_t at = kSnapshotTokens; g.request_.boundaries.empty() && at < g.prompt_size(); at += kSnapshotTokens)
    g.mark(at, limits_.snapshot_unit);
}

bool Scheduler::next(Generation& generation, News& news, std::chrono::milliseconds patience) {
  Lock lock(mutex_);
  enter();
  if (!wait_for_news(generation, lock, Clock::now() + patience)) return false;
  generation.give(news);
  return true;
}

bool Scheduler::poll(Generation& generation, News& news) {
  const Lock lock(mutex_);
  enter();
  if (!generation.has_news_) return false;
  generation.give(news);
  return true;
}

bool Scheduler::advance(std::chrono::milliseconds patience) {
  Lock lock(mutex_);
  enter();
  const auto idle = [](const Held& g) { return g->idle(); };
  if (!driven_ && waiting_.empty() && std::all_of(running_.begin(), running_.end(), idle)) return false;
  if (driven_ || !drive(lock)) changed_->wait_for(lock, patience);
  return true;
}

bool Scheduler::wait_for_news(Generation& generation, Lock& lock, Clock::time_point until) {
  while (!generation.has_news_) {
    if (generation.finish_ != Finish::running) return false;
    require_outside_step();
    // What waits for a sequence that somebody drives himself waits until it is given back.
    if (driven_ || (!drive(lock) && !generation.has_news_)) changed_->wait_until(lock, until);
    if (Clock::now() >= until) return generation.has_news_;
  }
  return true;
}

// A step by this thread. Whatever it throws, others can take the next one. False when nobody can start, or it is closed.
bool Scheduler::drive(Lock& lock) {
  if (closed_) return false;
  struct Driving {
    Scheduler& s;
    explicit Driving(Scheduler& scheduler) : s(scheduler) {
      s.driven_ = true;
      s.driver_ = std::this_thread::get_id();
    }
    ~Driving() {
      s.driven_ = false;
      s.driver_ = {};
      s.changed_->notify_all();
    }
  } driving(*this);
  return step(lock);
}

bool Scheduler::ready(const Generation& generation) {
  const Lock lock(mutex_);
  return generation.has_news_ || generation.finish_ != Finish::running;
}

bool Scheduler::ended(const Generation& generation) {
  const Lock lock(mutex_);
  return generation.finish_ != Finish::running && !generation.has_news_;
}

void Scheduler::cancel(Generation& generation) {
  Lock lock(mutex_);
  enter();
  if (generation.finish_ != Finish::running) return;
  generation.cancelled_ = true;
  if (generation.by_hand() && !generation.sequence_) return generation.end(Finish::cancelled);
  if (!driven_) return finish_ended();
  if (std::all_of(running_.begin(), running_.end(), [](const Held& g) { return g->cancelled_; })) cancel_.set();
  if (driver_ == std::this_thread::get_id()) return;  // a callback within the step, which cannot wait for its end
  changed_->wait(lock, [&] { return generation.finish_ != Finish::running; });
}

void Scheduler::close() {
  Lock lock(mutex_);
  if (spoilt()) return;  // nothing computes in this process, nor ever will
  enter();
  require_outside_step();
  closed_ = true;
  for (const Held& g : waiting_) g->cancelled_ = true;
  for (const Held& g : running_) g->cancelled_ = true;
  if (driven_) cancel_.set();
  changed_->wait(lock, [&] { return !driven_; });
  finish_ended();
}

// ---- by hand ----

Scheduler::Held Scheduler::open() {
  const Lock lock(mutex_);
  enter();
  require_open();
  return Held(new Generation({}, ++number_));
}

void Scheduler::extend(const Held& by_hand, std::span<const int32_t> tokens, float* logits, const CancelFlag& cancel) {
  Generation& g = *by_hand;
  require_tokens("forward", tokens);
  Lock lock(mutex_);
  enter();
  require_open();
  if (tokens.size() > limits_.context - g.size())
    throw bad("forward: expected at most " + std::to_string(limits_.context - g.size()) + " more tokens in a context of " +
              std::to_string(limits_.context) + ", found " + std::to_string(tokens.size()));
  g.extension_ = {g.size(), logits, &cancel};
  g.tokens_.insert(g.tokens_.end(), tokens.begin(), tokens.end());
  if (!g.sequence_) waiting_.push_back(by_hand);
  while (!wait_for_news(g, lock, Clock::now() + kLookForCancel))
    if (g.finish_ != Finish::running) break;
  g.has_news_ = false;
  g.extension_ = {};
  if (g.error_) std::rethrow_exception(std::exchange(g.error_, nullptr));
  if (g.finish_ != Finish::running) throw bad("expected an open model, found one that was closed meanwhile");
}

uint32_t Scheduler::length(const Generation& by_hand) {
  const Lock lock(mutex_);
  return by_hand.size();
}

uint32_t Scheduler::truncate(Generation& g, uint32_t length) {
  const Lock lock(mutex_);
  enter();
  if (length >= g.size()) return g.size();
  // Less may be left of its states; the tokens between are computed again with the next step.
  if (g.computed_ > length) g.computed_ = engine_.truncate(*g.sequence_, length);
  g.tokens_.resize(length);
  return length;
}

// ---- sequences of others ----

uint32_t Scheduler::take_sequence() {
  const Lock lock(mutex_);
  enter();
  require_open();
  if (!driven_) finish_ended();
  if (free_.empty())
    throw bad("expected a free sequence, found all " + std::to_string(limits_.sequences) +
              " in use: close a session, or load the model with more sequences");
  const uint32_t sequence = free_.front();
  engine_.reuse(sequence, {});
  free_.erase(free_.begin());
  return sequence;
}

void Scheduler::give_sequence(uint32_t sequence) {
  const Lock lock(mutex_);
  enter();
  if (closed_) return;
  engine_.reuse(sequence, {});
  free_.push_back(sequence);
  changed_->notify_all();
}

Scheduler::Counts Scheduler::counts() {
  const Lock lock(mutex_);
  if (!driven_) finish_ended();
  return {static_cast<uint32_t>(running_.size()),
          static_cast<uint32_t>(waiting_.size()),
          static_cast<uint32_t>(free_.size()),
          steps_,
          preemptions_,
          drafted_,
          accepted_drafts_};
}

}  // namespace q3e
