// Tokens that an answer may go on with, guessed so that one step can check several: each is kept if it is what is picked in its
// place, so that the answer is the same with guesses and without (Leviathan et al. 2023, with the draw of the index itself).
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "runtime/prompt_lookup.h"

namespace q3e {

// The guesses for one answer: what is looked up in it, or what a draft model gives, whichever was right more often. How many are
// worth their time follows from how many of the last ones were right, for those of the model and those after a short and a long
// agreement apart, and from what a guess costs: an answer in which none is right guesses seldom.
class Drafts {
 public:
  // model_right: share of a draft model's guesses that were right in other answers.
  Drafts(uint32_t context, double model_right) : lookup_(context), model_{model_right, 64} {}

  // What a step gives without another guess, and what one adds, each relative to a step without any.
  struct Step {
    double tokens;  // that it gives, guesses counted by how likely they are right
    double time;
    double cost;        // of a guess
    double model_cost;  // of getting one from a draft model besides; infinite where there is none
  };
  // At most `most` guesses behind `tokens`, as many as make `step` give more tokens in its time; adds them to it. Returns how
  // many a draft model is asked for, which `set` takes; 0 where they were looked up, or none are worth it.
  uint32_t propose(std::span<const int32_t> tokens, uint32_t most, Step& step);
  void set(std::vector<int32_t>&& of_model) { proposed_ = std::move(of_model); }
  // Leaves the first `count`: the others cannot be right.
  void shorten(size_t count) { proposed_.resize(count); }
  // How many of the last guesses were right. `checked`: of how many this is known; what ended the answer says nothing of the
  // rest.
  void learn(uint32_t right, uint32_t checked);

  std::span<const int32_t> tokens() const { return proposed_; }
  double model_right() const { return model_.right; }
  void clear() { proposed_.clear(); }

 private:
  static constexpr uint32_t kLongAgreement = 8;
  struct Rate {
    double right;         // share of the guesses
    uint32_t probe;       // so often one is tried that does not seem worth it
    uint32_t passed = 0;  // times without a guess
  };
  static uint32_t worth(Rate& rate, uint32_t most, double cost, Step& step);

  PromptLookup lookup_;
  std::vector<int32_t> proposed_;
  Rate short_{0.4, 32}, long_{0.7, 32};  // after a short agreement, after a long one
  Rate model_;                           // which has to read what it passed by first
  Rate* rate_ = &short_;                 // of the last guesses
};

}  // namespace q3e
