// A step: one pass through the engine for several answers. What goes in, and what comes out for each.
#pragma once

#include <cstdint>
#include <deque>
#include <exception>
#include <optional>
#include <vector>

#include "exec/cancel_flag.h"
#include "runtime/batch_engine.h"
#include "runtime/generation.h"

namespace q3e {

class ScheduledBatch {
 public:
  // A part: the next `count` tokens of an answer.
  struct Row {
    Generation* generation;
    uint32_t count;
    bool ends;             // they are all that it has, so that the next token is picked
    bool scores;           // the log probabilities of the tokens that follow each of them are wanted
    uint32_t asked = 0;    // draft tokens that a draft model is asked for, and of whichever source
    uint32_t drafted = 0;  // there are, behind them: Generation::drafts_
    bool refused = false;  // another one was, which the constraint does not allow
  };
  // What is made of a row of logits.
  struct Outcome {
    Generation* generation;
    uint32_t at;    // which of its tokens
    int32_t token;  // one of the prompt that is scored; -1: it is picked
    bool picked;
    bool drafted = false;  // behind a draft token, and of use only if that is right:
    bool made = false;
    std::optional<TokenMask> mask{};
    Logprobs logprobs{};
    std::exception_ptr error{};
  };

  // A state that was asked for, behind the last token of a prompt.
  struct State {
    Generation* generation;
    std::vector<float> values{};  // [width]
  };

  // Draft tokens that their answer's constraint does not allow are left out. Without the scheduler's lock, as `compute`.
  ScheduledBatch(std::vector<Row> rows, const EngineLimits& limits);

  const std::vector<Row>& rows() const { return rows_; }
  uint32_t tokens() const { return static_cast<uint32_t>(tokens_.size()); }
  uint32_t prompt_tokens() const { return prompt_tokens_; }  // of rows of more than one
  uint32_t drafted() const { return drafted_; }

  // Without the scheduler's lock: until it returns, nobody else reads or changes what it uses of these answers. logits: a buffer,
  // [outcomes][vocabulary]. Throws what the engine throws; an answer's own errors are in its outcome.
  void compute(BatchEngine& engine, std::vector<float>& logits, CancelFlag& cancel);
  std::vector<Outcome>& outcomes() { return outcomes_; }  // in the order of the rows
  std::vector<State>& states() { return states_; }

 private:
  void add(const Row& row, int32_t token, uint32_t position, uint8_t want);
  void constrain(Row& row, size_t first);
  void make(Outcome& outcome, const float* logits) const;
  void make_behind_drafts(size_t first, const float* logits);

  std::vector<Row> rows_;
  uint32_t vocabulary_, width_;
  uint32_t prompt_tokens_ = 0, drafted_ = 0;
  std::vector<int32_t> tokens_, positions_, sequences_;
  std::vector<uint8_t> want_;
  std::vector<Outcome> outcomes_;
  std::vector<State> states_;
  std::deque<std::vector<uint32_t>> masks_;  // of outcomes before draft tokens
};

}  // namespace q3e
