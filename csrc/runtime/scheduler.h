// Many answers at once: whoever waits for one drives the engine for all. A step is one ragged batch of the rows that decode and
// of a part of the prompts that are read.
//
// There is no thread that owns the engine. A reader whose answer has nothing new becomes the one that steps, if nobody is, and
// stops when its own answer has something; the next reader that waits takes over. So one answer alone costs no hand-over, nothing
// is computed that nobody waits for, and a forked child has nothing to start again.
//
// Bits do not depend on who shares a step, on how a prompt was cut, or on what was cached: the engine promises that.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <thread>
#include <vector>

#include "base/process.h"
#include "runtime/batch_engine.h"
#include "runtime/draft_model.h"
#include "runtime/generation.h"
#include "runtime/scheduled_batch.h"

namespace q3e {

class Scheduler {
 public:
  using Held = std::shared_ptr<Generation>;

  // engine: outlives the scheduler; its sequences are the scheduler's, but for those of `take_sequence`. draft: null, or a model
  // that outlives it, too, and gives draft tokens. Throws what DraftModel throws.
  explicit Scheduler(BatchEngine& engine, BatchEngine* draft = nullptr, uint32_t most_waiting = 1024);
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  // Puts a request at the end of the queue. Throws Error: bad_argument for what no sampler or context takes, over_budget for what
  // does not fit the pages even alone, busy when the queue is full.
  Held submit(GenerationRequest request);

  // Waits, at most so long, until there is something that its reader has not seen, and gives it; false when there is not. The
  // engine is driven meanwhile, a step of which may take longer. After the end there is nothing new any more.
  bool next(Generation& generation, News& news, std::chrono::milliseconds patience);
  // The same without waiting, and without driving.
  bool poll(Generation& generation, News& news);
  // For a thread that drives while others wait in another way: a step, or, while somebody else is in one, its end, for which it
  // waits at most so long. False when there is nothing to compute.
  bool advance(std::chrono::milliseconds patience);

  // Whether there is something new, or it has ended.
  bool ready(const Generation& generation);
  // Whether it has ended and its reader has seen all of it.
  bool ended(const Generation& generation);

  // Ends an answer, within a step where one runs. From any thread, any number of times.
  void cancel(Generation& generation);
  // The same for all, and no request is taken any more. When it returns nothing of them is computed, and the engines are not
  // needed any more. Does nothing in a process that was forked in the middle of a step.
  void close();

  // A sequence of tokens that its owner continues by hand, empty; `cancel` ends it. It takes part in the steps as answers do, and
  // gives up its memory while it waits for its owner, if others need it.
  Held open();
  // Appends tokens to it and waits until they are computed; logits: [vocabulary] after the last one, or null. Throws Error:
  // bad_argument; cancelled, soon after the flag was set; others; nothing is appended then.
  void extend(const Held& by_hand, std::span<const int32_t> tokens, float* logits, const CancelFlag& cancel);
  uint32_t length(const Generation& by_hand);
  // Leaves at most so many tokens of it; returns how many it has.
  uint32_t truncate(Generation& by_hand, uint32_t length);

  // A sequence for those who drive the engine themselves, empty. Throws Error(bad_argument) when all are in use.
  uint32_t take_sequence();
  void give_sequence(uint32_t sequence);

  struct Counts {
    uint32_t running, waiting, free_sequences;
    uint64_t steps, preemptions;
    uint64_t drafted, accepted_drafts;  // tokens that were drafted, and of these the ones that the answers have
  };
  Counts counts();

 private:
  using Lock = std::unique_lock<ForkMutex>;
  using Row = ScheduledBatch::Row;
  using Clock = std::chrono::steady_clock;
  static constexpr uint32_t kSnapshotTokens = 2048;  // between those of a prompt that has no boundaries
  static constexpr uint32_t kEnoughToLearn = 4;      // tokens of prompts, from a step's time; a step reads as many at least

  // scheduler.cpp: calls
  bool spoilt() const { return driven_ && !changed_.get_deleter().at_home(); }  // by a fork in the middle of a step
  void enter();                                                                 // throws where nothing can be relied on
  void require_outside_step() const;                                            // of what waits for a step's end
  void require_open() const;
  void mark(Generation& generation) const;
  void require_tokens(const char* name, std::span<const int32_t> tokens) const;
  bool wait_for_news(Generation& generation, Lock& lock, Clock::time_point until);
  bool drive(Lock& lock);

  // scheduler_step.cpp: a step
  bool step(Lock& lock);
  void finish_ended();
  void admit();
  bool waits_for_beginning(const Generation& generation);
  bool start(Generation& generation);
  std::vector<Row> choose_rows();
  uint32_t prompt_tokens_beside(uint32_t decoding) const;
  bool make_room(std::vector<Row>& rows);
  // scheduler_run.cpp
  void run(std::vector<Row> rows, Lock& lock);
  void settle(ScheduledBatch& batch);
  void learn(const ScheduledBatch& batch, double seconds);
  // scheduler_drafts.cpp
  void draft(std::vector<Row>& rows);
  void ask_draft_model(std::vector<Row>& rows);
  void settle_drafts(Generation& generation, bool refused);
  void forget_drafts(std::span<const Row> rows);
  void learn_cost_of_drafts(uint32_t count, double seconds);
  // Gives the sequence back; what was computed is kept for others.
  void release(Generation& generation);
  bool release_idle();
  void take_back(Generation& by_hand, std::exception_ptr error);
  void fail(std::span<const Row> rows, std::exception_ptr error);
  uint32_t promised(const Generation& generation) const;

  BatchEngine& engine_;
  const EngineLimits limits_;
  const uint32_t most_waiting_;
  ForkMutex mutex_;
  OwnedAtHome<std::condition_variable_any> changed_ = make_at_home<std::condition_variable_any>();
  std::vector<uint32_t> free_;  // sequences
  std::deque<Held> waiting_;
  std::vector<Held> running_;  // in the order in which they were started
  bool driven_ = false;        // somebody is in a step:
  std::thread::id driver_{};
  bool closed_ = false;
  CancelFlag cancel_;  // of the step
  uint64_t number_ = 0, steps_ = 0, preemptions_ = 0, drafted_ = 0, accepted_drafts_ = 0;
  std::vector<float> logits_;
  // Of a step that decodes alone; of a prompt's token; of a guess, relative to such a step. 0: not known yet.
  double decode_seconds_ = 0, token_seconds_ = 0, draft_cost_ = 0;
  std::optional<DraftModel> draft_model_;
  // Of its passes in the last step, and of one when it drafts; 0: not known yet.
  double drafting_seconds_ = 0, draft_pass_seconds_ = 0;
  double model_right_ = 0.6;  // share of its draft tokens, of the last answers
};

}  // namespace q3e
