// Picks the next token. The same seed and logits give the same tokens on every machine.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "runtime/logprobs.h"

namespace q3e {

constexpr size_t kMostBiases = 1024;

struct LogitBias {
  int32_t token;
  float value;  // -100, which all but bans, to 100, which all but forces
};

// In the order in which they are applied, one after the other; the values given here switch a step off. What is never picked
// comes first: tokens beyond the vocabulary or outside a mask, and the stop tokens of an answer that is too short.
struct SamplingParameters {
  std::vector<int32_t> never;  // are not picked; here and below, tokens that the model does not have are passed over
  uint32_t min_tokens = 0;     // of the answer, before which none of `stop_tokens` is picked
  std::vector<int32_t> stop_tokens;
  std::vector<LogitBias> logit_bias;
  float repetition_penalty = 1;  // divides positive and multiplies negative logits of tokens seen (Keskar et al. 2019)
  float frequency_penalty = 0;   // subtracted from a token's logit as often as the answer has it
  float presence_penalty = 0;    // subtracted once from logits of tokens that the answer has
  float temperature = 1;         // 0: greedy, and nothing below matters
  uint32_t top_k = 0;
  float top_p = 1;  // of the probability of what top_k left: nucleus (Holtzman et al. 2020)
  float min_p = 0;  // of the most probable token's probability (Nguyen et al. 2024)
  uint64_t seed = 0;
  uint32_t choice = 0;  // which of the answers to one request
};

// Throws Error(bad_argument) that begins with the name of a parameter out of range.
void require_in_range(const SamplingParameters& parameters);

// Of a grammar: bit t % 32 of word t / 32 allows token t. Tokens beyond the words are not allowed.
struct TokenMask {
  const uint32_t* words;  // [count]
  size_t count;

  bool allows(size_t token) const { return token / 32 < count && (words[token / 32] >> (token % 32) & 1) != 0; }
};

class Sampler {
 public:
  // vocabulary: of the logits. usable: at most as many; rows from there on are padding that no text has, and never picked.
  // Throws Error(bad_argument) for a parameter out of range.
  Sampler(uint32_t vocabulary, uint32_t usable, SamplingParameters parameters);

  size_t vocabulary() const { return marks_.size(); }
  // Tokens that were counted: those of the answer, and all.
  size_t generated() const { return generated_; }
  size_t accepted() const { return history_.size(); }

  // Counts a token behind those before: one of the prompt for the repetition penalty, one generated for all of them and for the
  // draws. Throws Error(bad_argument) for a token out of range.
  void accept(int32_t token, bool generated);
  // Counts the first `length` tokens only, as the sequence itself was cut. What none of the penalties needs costs as much as is
  // cut.
  void truncate(size_t length);

  // The token at `index` of the answer, the next by default; it is not counted. What is drawn depends on seed, choice and index
  // alone (draw.h). logits: [vocabulary]; NaN counts as never. Throws Error(bad_argument) when no token that may be picked has
  // one above -infinity.
  int32_t sample(const float* logits, const TokenMask* mask = nullptr, std::optional<size_t> index = {}) const;

  // Of softmax(logits), see logprobs.h. Throws Error(bad_argument) for a token out of range also.
  Logprobs logprobs(const float* logits, int32_t token, size_t top) const;

 private:
  void require_token(const char* name, int32_t token) const;
  void count(uint32_t accepted);
  uint32_t count_of(int32_t token) const;
  float adjusted(float logit, int32_t token, size_t index) const;
  int32_t pick(const float* logits, const TokenMask* mask, size_t index) const;

  SamplingParameters parameters_;  // logit_bias in the order of the tokens
  size_t usable_;
  bool penalizes_;  // whether what was counted changes a logit
  bool raises_;     // whether a logit can be above what the model gave
  size_t generated_ = 0;
  std::vector<uint8_t> marks_;  // [vocabulary] whether a token was seen, is a stop or has a bias; how often the answer has it
  std::vector<std::pair<int32_t, uint32_t>> many_;  // counts that its mark does not hold, in the order of the tokens
  std::vector<uint32_t> history_;                   // from which the marks are restored
};

}  // namespace q3e
