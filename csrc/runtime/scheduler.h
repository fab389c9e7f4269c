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
#include <span>
#include <thread>
#include <vector>

#include "base/process.h"
#include "runtime/batch_engine.h"
#include "runtime/generation.h"

namespace q3e {

class Scheduler {
 public:
  // engine: outlives the scheduler; its sequences are the scheduler's, but for those of `take_sequence`.
  explicit Scheduler(BatchEngine& engine, uint32_t most_waiting = 1024);
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  // Puts a request at the end of the queue. Throws Error: bad_argument for what no sampler or context takes, over_budget for what
  // does not fit the pages even alone, busy when the queue is full.
  std::shared_ptr<Generation> submit(GenerationRequest request);

  // Waits, at most so long, until there is something that its reader has not seen, and gives it; false when there is not. The
  // engine is driven meanwhile, a step of which may take longer. After the end there is nothing new any more.
  bool next(Generation& generation, News& news, std::chrono::milliseconds patience);

  // Whether it has ended and its reader has seen all of it.
  bool ended(const Generation& generation);

  // Ends an answer, within a step where one runs. From any thread, any number of times.
  void cancel(Generation& generation);
  // The same for all, and no request is taken any more. When it returns nothing of them is computed.
  void close();

  // A sequence for those who drive the engine themselves, empty. Throws Error(bad_argument) when all are in use.
  uint32_t take_sequence();
  void give_sequence(uint32_t sequence);

  struct Counts {
    uint32_t running, waiting, free_sequences;
    uint64_t steps, preemptions;
  };
  Counts counts();

 private:
  using Lock = std::unique_lock<ForkMutex>;
  using Held = std::shared_ptr<Generation>;
  // A part of a step: the next `count` tokens of an answer.
  struct Row {
    Generation* generation;
    uint32_t count;
    bool samples;  // they are all that it has
  };

  void enter();  // a call: after a fork in the middle of a step nothing can be relied on
  void drive(Lock& lock);
  void step(Lock& lock);
  void admit();
  bool start(Generation& generation);
  std::vector<Row> choose_rows();
  uint32_t prompt_tokens_beside(uint32_t decoding) const;
  bool make_room(std::vector<Row>& rows);
  void run(std::span<const Row> rows, Lock& lock);
  void finish_ended();
  // Gives the sequence back; what was computed is kept for others.
  void release(Generation& generation);
  void fail(std::span<const Row> rows, std::exception_ptr error);
  uint32_t pages_for(uint64_t tokens) const;
  uint32_t promised(const Generation& generation) const;
  uint32_t held(const Generation& generation) const;
  bool shares_open_page(const Generation& generation) const;

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
  uint64_t number_ = 0, steps_ = 0, preemptions_ = 0;
  std::vector<float> logits_;
  double decode_seconds_ = 0, token_seconds_ = 0;  // of a step that decodes alone; of a prompt's token; 0: not known yet
};

}  // namespace q3e
