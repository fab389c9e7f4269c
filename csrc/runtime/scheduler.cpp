#include "runtime/scheduler.h"

#include <algorithm>
#include <string>
#include <thread>
#include <utility>

#include "base/error.h"
#include "exec/prefix_cache.h"

namespace q3e {
namespace {

using Clock = std::chrono::steady_clock;

// A step in which answers wait for their next token takes at most so long, or so many times what it takes without prompts.
constexpr double kLongestStep = 0.1, kMostDecodeSteps = 4;
constexpr uint32_t kShareOfContext = 8;  // of a context is expected for an answer whose length nobody said

Error bad(const std::string& text) { return {Status::bad_argument, text}; }

}  // namespace

Scheduler::Scheduler(BatchEngine& engine, uint32_t most_waiting)
    : engine_(engine), limits_(engine.limits()), most_waiting_(most_waiting) {
  for (uint32_t s = 0; s < limits_.sequences; ++s) free_.push_back(s);
}

uint32_t Scheduler::pages_for(uint64_t tokens) const {
  return static_cast<uint32_t>((tokens + limits_.page_tokens - 1) / limits_.page_tokens);
}

// ---- calls ----

void Scheduler::enter() {
  if (changed_.get_deleter().at_home()) return;
  if (driven_)
    throw bad("fork: expected a model that no thread was using when the process forked, found one in a call: load it again");
  changed_ = make_at_home<std::condition_variable_any>();
}

std::shared_ptr<Generation> Scheduler::submit(GenerationRequest request) {
  const size_t size = request.prompt.size();
  if (size == 0) throw bad("prompt: expected at least one token, found none");
  if (size >= limits_.context)
    throw bad("prompt: expected fewer than " + std::to_string(limits_.context) + " tokens (the context), found " +
              std::to_string(size));
  for (const int32_t token : request.prompt)
    if (token < 0 || static_cast<uint32_t>(token) >= limits_.vocabulary)
      throw bad("prompt: expected token ids from 0 to " + std::to_string(limits_.vocabulary - 1) + ", found " +
                std::to_string(token));
  if (request.sampler->vocabulary() != limits_.vocabulary)
    throw bad("sampler: expected one for " + std::to_string(limits_.vocabulary) + " logits, found one for " +
              std::to_string(request.sampler->vocabulary()));
  if (const uint32_t need = pages_for(size + 1); need > limits_.pages)
    throw Error(Status::over_budget, "prompt: expected at most " + std::to_string(limits_.pages) + " pages of " +
                                         std::to_string(limits_.page_tokens) + " tokens, found a need of " +
                                         std::to_string(need));
  const Lock lock(mutex_);
  enter();
  if (closed_) throw bad("expected an open model, found a closed one");
  if (waiting_.size() >= most_waiting_)
    throw Error(Status::busy, "expected at most " + std::to_string(most_waiting_) + " requests in the queue, found it full");
  Held generation(new Generation(std::move(request), ++number_));
  waiting_.push_back(generation);
  return generation;
}

bool Scheduler::next(Generation& generation, News& news, std::chrono::milliseconds patience) {
  Lock lock(mutex_);
  enter();
  const auto until = Clock::now() + patience;
  while (!generation.has_news_) {
    if (generation.finish_ != Finish::running) return false;
    if (!driven_) {
      drive(lock);
      if (Clock::now() >= until && !generation.has_news_) return false;
    } else if (changed_->wait_until(lock, until) == std::cv_status::timeout && !generation.has_news_) {
      return false;
    }
  }
  news.tokens = std::exchange(generation.new_tokens_, {});
  news.pieces = std::exchange(generation.new_pieces_, {});
  news.finish = generation.finish_;
  news.usage = generation.usage();
  news.reasoning = generation.text_ && generation.text_->reasoning();
  news.error = generation.error_;
  generation.has_news_ = false;
  return true;
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
  if (!driven_) return finish_ended();
  if (std::all_of(running_.begin(), running_.end(), [](const Held& g) { return g->cancelled_; })) cancel_.set();
  if (driver_ == std::this_thread::get_id()) return;  // a callback within the step, which cannot wait for its end
  changed_->wait(lock, [&] { return generation.finish_ != Finish::running; });
}

void Scheduler::close() {
  Lock lock(mutex_);
  enter();
  closed_ = true;
  for (const Held& g : waiting_) g->cancelled_ = true;
  for (const Held& g : running_) g->cancelled_ = true;
  if (driven_) cancel_.set();
  changed_->wait(lock, [&] { return !driven_; });
  finish_ended();
}

uint32_t Scheduler::take_sequence() {
  const Lock lock(mutex_);
  enter();
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
  engine_.reuse(sequence, {});
  free_.push_back(sequence);
}

Scheduler::Counts Scheduler::counts() {
  const Lock lock(mutex_);
  if (!driven_) finish_ended();
  return {static_cast<uint32_t>(running_.size()), static_cast<uint32_t>(waiting_.size()), static_cast<uint32_t>(free_.size()),
          steps_, preemptions_};
}

// ---- a step ----

// A step by this thread. Whatever it throws, others can take the next one.
void Scheduler::drive(Lock& lock) {
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
  step(lock);
}

void Scheduler::step(Lock& lock) {
  ++steps_;
  finish_ended();
  admit();
  std::vector<Row> rows = choose_rows();
  if (make_room(rows)) run(rows, lock);
  finish_ended();
}

// Those whose reader has gone, or who failed, leave.
void Scheduler::finish_ended() {
  const auto ended = [&](const Held& g) {
    if ((g->cancelled_ || g->abandoned_.load(std::memory_order_relaxed)) && g->finish_ == Finish::running)
      g->end(Finish::cancelled);
    if (g->finish_ == Finish::running) return false;
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
  free_.push_back(*g.sequence_);
  g.sequence_.reset();
  g.computed_ = 0;
}

// Pages that an answer may grow to before others must make room for it.
uint32_t Scheduler::promised(const Generation& g) const {
  const uint64_t answer = g.request_.max_tokens ? g.request_.max_tokens : limits_.context / kShareOfContext;
  const uint64_t most = std::min<uint64_t>(limits_.context, g.request_.prompt.size() + answer);
  return pages_for(std::max<uint64_t>(most, g.size()));
}

// Its last page is another's as well, so that it is copied before anything is appended.
bool Scheduler::shares_open_page(const Generation& g) const {
  return g.computed_ == g.reused_ && g.computed_ % limits_.page_tokens != 0;
}

uint32_t Scheduler::held(const Generation& g) const { return pages_for(g.computed_); }

// The first in the queue starts as long as there are a sequence and pages for it: nobody overtakes, so nobody starves.
void Scheduler::admit() {
  while (!waiting_.empty() && !free_.empty() && start(*waiting_.front())) {
    running_.push_back(std::move(waiting_.front()));
    waiting_.pop_front();
  }
}

bool Scheduler::start(Generation& g) {
  // What another one computes just now can be shared once it is there.
  for (const Held& other : running_)
    if (other->left() > 1)
      if (const uint32_t shared = common_length(other->tokens_, g.tokens_);
          shared / limits_.page_tokens * limits_.page_tokens > other->computed_)
        return false;
  const uint32_t sequence = engine_.choose(free_, g.tokens_);
  g.computed_ = engine_.reuse(sequence, g.tokens_);
  g.reused_ = g.computed_;
  uint64_t to_come = promised(g) - held(g) + shares_open_page(g);
  for (const Held& other : running_) to_come += promised(*other) - std::min(promised(*other), held(*other));
  if (to_come > engine_.available_pages() && !running_.empty()) {
    engine_.truncate(sequence, 0);
    g.computed_ = 0;
    return false;
  }
  g.sequence_ = sequence;
  std::erase(free_, sequence);
  if (g.started_ == Clock::time_point{}) {
    g.started_ = Clock::now();
    g.cached_ = g.computed_;
  }
  return true;
}

// How many tokens of prompts a step takes in which so many answers decode.
uint32_t Scheduler::prompt_tokens_beside(uint32_t decoding) const {
  if (decoding == 0) return limits_.chunk;
  const uint32_t most = limits_.chunk - std::min(limits_.chunk - 1, decoding);
  if (token_seconds_ <= 0) return std::min(most, limits_.page_tokens);
  const double left = std::max(kLongestStep, kMostDecodeSteps * decode_seconds_) - decode_seconds_;
  return static_cast<uint32_t>(std::clamp(left / token_seconds_, 1.0, static_cast<double>(most)));
}

std::vector<Scheduler::Row> Scheduler::choose_rows() {
  std::vector<Row> rows;
  std::vector<Generation*> reading;
  for (const Held& g : running_)
    if (g->left() == 1)
      rows.push_back({g.get(), 1, true});
    else
      reading.push_back(g.get());
  // In turns, so that a short prompt does not wait for the end of a long one.
  std::stable_sort(reading.begin(), reading.end(), [](const auto* a, const auto* b) { return a->served_ < b->served_; });
  uint32_t tokens = prompt_tokens_beside(static_cast<uint32_t>(rows.size()));
  for (Generation* g : reading) {
    const uint32_t count = std::min(tokens, g->left());
    if (count == 0) break;
    rows.push_back({g, count, count == g->left()});
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
      needed += pages_for(g.computed_ + row.count) - held(g);
      needed += shares_open_page(g);
    }
    if (needed <= engine_.available_pages()) return !rows.empty();
    const auto youngest =
        std::max_element(running_.begin(), running_.end(), [](const Held& a, const Held& b) { return a->number_ < b->number_; });
    if (running_.size() == 1) {
      Generation& g = *running_.front();
      if (shares_open_page(g)) {  // whose copy would be the one page too many: it is computed again
        g.computed_ = g.reused_ = engine_.truncate(*g.sequence_, g.computed_ / limits_.page_tokens * limits_.page_tokens);
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

void Scheduler::run(std::span<const Row> rows, Lock& lock) {
  std::vector<int32_t> tokens, positions, sequences;
  std::vector<uint8_t> want;
  uint32_t sampled = 0, of_prompts = 0;
  for (const Row& row : rows) {
    const Generation& g = *row.generation;
    for (uint32_t i = 0; i < row.count; ++i) {
      tokens.push_back(g.tokens_[g.computed_ + i]);
      positions.push_back(static_cast<int32_t>(g.computed_ + i));
      sequences.push_back(static_cast<int32_t>(*g.sequence_));
      want.push_back(row.samples && i + 1 == row.count ? kWantLogits : 0);
    }
    sampled += row.samples;
    of_prompts += row.count > 1 ? row.count : 0;
  }
  logits_.resize(size_t{sampled} * limits_.vocabulary);
  std::vector<int32_t> picked(sampled, -1);
  std::vector<std::exception_ptr> errors(sampled);
  std::vector<Generation*> of_row;
  for (const Row& row : rows)
    if (row.samples) of_row.push_back(row.generation);
  cancel_.clear();
  lock.unlock();
  const auto began = Clock::now();
  std::exception_ptr error;
  bool cancelled = false;
  try {
    engine_.forward({tokens.data(), positions.data(), sequences.data(), want.data(), tokens.size()}, logits_.data(), nullptr,
                    &cancel_);
    engine_.for_each(sampled, [&](uint32_t i) {
      try {
        picked[i] = of_row[i]->request_.sampler->sample(logits_.data() + size_t{i} * limits_.vocabulary);
      } catch (...) {
        errors[i] = std::current_exception();
      }
    });
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
    if (!cancelled) fail(rows, error);
    return;
  }
  const auto learn = [](double& known, double found) { known = known > 0 ? (known + found) / 2 : found; };
  if (of_prompts == 0)
    learn(decode_seconds_, seconds);
  else
    learn(token_seconds_, std::max(seconds - (of_prompts < tokens.size() ? decode_seconds_ : 0), seconds / 16) / of_prompts);
  uint32_t i = 0;
  for (const Row& row : rows) {
    Generation& g = *row.generation;
    g.computed_ += row.count;
    g.read_ = std::max(g.read_, std::min(g.computed_, static_cast<uint32_t>(g.request_.prompt.size())));
    if (row.count > 1) {
      g.has_news_ = true;
      engine_.keep(*g.sequence_, std::span(g.tokens_).first(g.computed_ / limits_.page_tokens * limits_.page_tokens));
    }
    if (!row.samples) continue;
    if (errors[i]) {
      g.error_ = errors[i];
      g.end(Finish::failed);
    } else if (!g.cancelled_) {
      g.append(picked[i], limits_.context);
    }
    ++i;
  }
}

void Scheduler::fail(std::span<const Row> rows, std::exception_ptr error) {
  for (const Row& row : rows) {
    row.generation->error_ = error;
    row.generation->end(Finish::failed);
  }
}

}  // namespace q3e
