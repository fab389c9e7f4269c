#include "core/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "base/error.h"
#include "ukernels/math_scalar.h"

namespace q3e {
namespace {

constexpr uint8_t kSeen = 1, kGenerated = 2;
constexpr float kNever = -std::numeric_limits<float>::infinity();

void require(const char* name, float value, float low, float high) {
  if (!(value >= low && value <= high))
    throw Error(Status::bad_argument, std::string(name) + ": expected " + std::to_string(low) + " to " + std::to_string(high) + ", found " +
                                          std::to_string(value));
}

}  // namespace

Sampler::Sampler(uint32_t vocabulary, const SamplingParameters& p) : parameters_(p), state_(p.seed), seen_(vocabulary) {
  require("temperature", p.temperature, 0, 100);
  require("top_p", p.top_p, 0, 1);
  require("min_p", p.min_p, 0, 1);
  require("presence_penalty", p.presence_penalty, -2, 2);
  require("repetition_penalty", p.repetition_penalty, 0.01f, 100);
}

void Sampler::accept(int32_t token, bool generated) {
  if (token < 0 || static_cast<size_t>(token) >= seen_.size())
    throw Error(Status::bad_argument, "token: expected 0 to " + std::to_string(seen_.size() - 1) + ", found " + std::to_string(token));
  if (!seen_[token]) seen_tokens_.push_back(token);
  seen_[token] |= generated ? kSeen | kGenerated : kSeen;
}

// splitmix64 (Steele et al. 2014)
double Sampler::uniform() {
  uint64_t z = state_ += 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return static_cast<double>((z ^ (z >> 31)) >> 11) * 0x1p-53;
}

int32_t Sampler::sample(const float* logits) {
  const SamplingParameters& p = parameters_;
  const auto adjusted = [&](int32_t token) {
    float v = logits[token];
    if (!(v > kNever)) return kNever;
    if (seen_[token]) v = v > 0 ? v / p.repetition_penalty : v * p.repetition_penalty;
    return seen_[token] & kGenerated ? v - p.presence_penalty : v;
  };
  const auto better = [](const Candidate& a, const Candidate& b) { return a.logit != b.logit ? a.logit > b.logit : a.token < b.token; };
  const size_t keep = p.temperature == 0 ? 1 : p.top_k == 0 ? seen_.size() : std::min<size_t>(p.top_k, seen_.size());
  // A heap of the best so far, its worst on top: one pass, and most logits fail the first comparison.
  candidates_.clear();
  for (size_t i = 0; i < seen_.size(); ++i) {
    const Candidate c{seen_[i] ? adjusted(static_cast<int32_t>(i)) : logits[i], static_cast<int32_t>(i)};
    if (!(c.logit > kNever)) continue;
    if (candidates_.size() < keep) {
      candidates_.push_back(c);
      if (candidates_.size() == keep) std::make_heap(candidates_.begin(), candidates_.end(), better);
    } else if (better(c, candidates_.front())) {
      std::pop_heap(candidates_.begin(), candidates_.end(), better);
      candidates_.back() = c;
      std::push_heap(candidates_.begin(), candidates_.end(), better);
    }
  }
  if (candidates_.empty()) throw Error(Status::bad_argument, "logits: expected at least one above -infinity, found none");
  std::sort(candidates_.begin(), candidates_.end(), better);
  if (p.temperature == 0) return candidates_.front().token;
  // From here on `logit` holds the weight exp((logit - best) / temperature).
  const float best = candidates_.front().logit;
  double total = 0;
  for (Candidate& c : candidates_) total += c.logit = c.logit == best ? 1.0f : exp_f32((c.logit - best) / p.temperature);
  double kept = 0;
  size_t count = 0;
  while (count < candidates_.size() && (count == 0 || (kept < p.top_p * total && candidates_[count].logit >= p.min_p)))
    kept += candidates_[count++].logit;
  double at = uniform() * kept;
  for (size_t i = 0; i < count; ++i) {
    at -= candidates_[i].logit;
    if (at < 0) return candidates_[i].token;
  }
  return candidates_[count - 1].token;
}

}  // namespace q3e
