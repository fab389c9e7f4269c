// How probable a model finds tokens.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace q3e {

constexpr size_t kMostTopLogprobs = 20;

struct TokenLogprob {
  int32_t token;
  double logprob;  // natural; -infinity for what is never picked
};

struct Logprobs {
  double token;
  std::vector<TokenLogprob> top;  // best first, of equal ones the lower token; fewer when there are no more
};

// Of softmax(logits [usable]), the model's own distribution: before any bias, penalty or temperature. NaN counts as never; of
// logits of infinity all probability is theirs. The same bits on every machine, within 1e-12 of what is right, whatever the
// thread's rounding. token: one of the vocabulary, beyond `usable` never. Throws Error(bad_argument) for more than
// kMostTopLogprobs, and when no logit is above -infinity.
Logprobs logprobs(const float* logits, size_t usable, int32_t token, size_t top);

}  // namespace q3e
