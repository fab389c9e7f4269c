// Tokens that an answer may go on with, guessed so that one step can check several: each is kept if it is what is picked in its
// place, so that the answer is the same with guesses and without (Leviathan et al. 2023, with the draw of the index itself).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "runtime/prompt_lookup.h"

namespace q3e {

// The guesses for one answer. How many are worth their time follows from how many of the last ones were right, for those after a
// short and a long agreement apart, and from what a guess costs: an answer in which none is right guesses seldom.
class Drafts {
 public:
  explicit Drafts(uint32_t context) : lookup_(context) {}

  // What a step gives without another guess, and what one adds, each relative to a step without any.
  struct Step {
    double tokens;  // that it gives, guesses counted by how likely they are right
    double time;
    double cost;  // of a guess
  };
  // At most `most` guesses behind `tokens`, as many as make `step` give more tokens in its time; adds them to it.
  std::span<const int32_t> propose(std::span<const int32_t> tokens, uint32_t most, Step& step);
  // How many of the last guesses were right. `checked`: of how many this is known; what ended the answer says nothing of the
  // rest.
  void learn(uint32_t right, uint32_t checked);

  std::span<const int32_t> tokens() const { return proposed_; }  // of the last `propose`
  void clear() { proposed_.clear(); }

 private:
  static constexpr uint32_t kLongAgreement = 8;
  static constexpr uint32_t kProbe = 32;  // so often a guess is tried that does not seem worth it
  struct Rate {
    double right;         // share of the guesses
    uint32_t passed = 0;  // times without a guess
  };

  PromptLookup lookup_;
  std::vector<int32_t> proposed_;
  Rate rates_[2] = {{0.4}, {0.7}};  // after a short agreement, after a long one
  Rate* rate_ = rates_;             // of the last guesses
};

}  // namespace q3e
