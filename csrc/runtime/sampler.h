// Picks the next token. The same seed and logits give the same tokens on every machine.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace q3e {

// Applied in this order; the values given here switch a step off, temperature 0 is greedy.
struct SamplingParameters {
  float repetition_penalty = 1;  // divides positive and multiplies negative logits of tokens seen (Keskar et al. 2019)
  float presence_penalty = 0;    // subtracted from logits of tokens generated
  float temperature = 1;
  uint32_t top_k = 0;
  float top_p = 1;  // nucleus (Holtzman et al. 2020)
  float min_p = 0;  // of the most probable token's probability (Nguyen et al. 2024)
  uint64_t seed = 0;
};

// Throws Error(bad_argument) that begins with the name of a parameter out of range.
void require_in_range(const SamplingParameters& parameters);

class Sampler {
 public:
  // Throws Error(bad_argument) for a parameter out of range.
  Sampler(uint32_t vocabulary, const SamplingParameters& parameters);

  size_t vocabulary() const { return seen_.size(); }

  // Counts a token behind those before, for the penalties. Throws Error(bad_argument) for a token out of range.
  void accept(int32_t token, bool generated);
  // Counts the first `length` tokens only, as the sequence itself was cut.
  void truncate(size_t length);

  // logits: [vocabulary]; NaN counts as never. Throws Error(bad_argument) when no logit is above -infinity.
  int32_t sample(const float* logits);

 private:
  struct Candidate {
    float logit;
    int32_t token;
  };
  static bool better(const Candidate& a, const Candidate& b) {
    return a.logit != b.logit ? a.logit > b.logit : a.token < b.token;
  }
  float penalized(float logit, int32_t token) const;
  std::vector<Candidate> collect(const float* logits, size_t keep) const;
  int32_t pick(const float* logits);
  double uniform();  // in [0, 1)

  SamplingParameters parameters_;
  uint64_t state_;
  std::vector<uint8_t> seen_;  // [vocabulary] bit 0: seen, bit 1: generated
  struct Accepted {
    int32_t token;
    uint8_t bits;
  };
  std::vector<Accepted> history_;  // from which `seen_` is restored
};

}  // namespace q3e
