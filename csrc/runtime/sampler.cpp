#include "runtime/sampler.h"

#include <algorithm>
#include <bit>
#include <string>

#include "base/error.h"
#include "base/rounding.h"
#include "runtime/best_logits.h"
#include "runtime/draw.h"
#include "runtime/exp_pair.h"
#include "ukernels/math_scalar.h"

namespace q3e {
namespace {

// Of a token. The lowest bits count how often the answer has it; all of them set: `many_` does.
constexpr uint8_t kSeen = 0x80, kBiased = 0x40, kBarred = 0x20, kCount = 0x1f;
constexpr uint32_t kGenerated = uint32_t{1} << 31;  // beside a token of the history

bool before(const std::pair<int32_t, uint32_t>& count, int32_t token) { return count.first < token; }

// Replaces logits by exp((logit - best) / temperature); returns their sum.
double to_weights(std::vector<Candidate>& candidates, float best, float temperature) {
  const auto distance = [&](const Candidate& c) {
    return c.logit == best ? 0.0 : (static_cast<double>(c.logit) - static_cast<double>(best)) / static_cast<double>(temperature);
  };
  double total = 0;
  for (size_t i = 0; i < candidates.size(); i += 2) {
    Candidate &a = candidates[i], &b = candidates[std::min(i + 1, candidates.size() - 1)];
    const Pair weights = exp_f64(Pair{distance(a), distance(b)});
    total += a.logit = static_cast<float>(weights[0]);
    if (&a != &b) total += b.logit = static_cast<float>(weights[1]);
  }
  return total;
}

// Weights from 0 to 1 by their first bits: of two buckets the higher has the larger ones.
constexpr int kBucketShift = 20;  // of 32 bits: sign, exponent and three of the mantissa are left
constexpr size_t kBuckets = (std::bit_cast<uint32_t>(1.0f) >> kBucketShift) + 1;
size_t bucket_of(float weight) { return std::bit_cast<uint32_t>(weight) >> kBucketShift; }

// Leaves the best that have a weight of `enough` together and of `least` each, at least one of them, in the order in which they
// stand; returns their sum. Only the bucket in which the last of them lies is sorted.
double keep_nucleus(std::vector<Candidate>& candidates, double enough, float least) {
  double sums[kBuckets] = {};
  for (const Candidate& c : candidates) sums[bucket_of(c.logit)] += c.logit;
  size_t bucket = kBuckets - 1;
  double kept = 0;
  while (bucket > bucket_of(least) && kept + sums[bucket] < enough) kept += sums[bucket--];
  std::vector<Candidate> last;
  for (const Candidate& c : candidates)
    if (bucket_of(c.logit) == bucket) last.push_back(c);
  std::sort(last.begin(), last.end(), better);
  size_t count = 0;
  while (count < last.size() && (kept == 0 || (kept < enough && last[count].logit >= least))) kept += last[count++].logit;
  std::erase_if(candidates, [&](const Candidate& c) {
    const size_t own = bucket_of(c.logit);
    return own < bucket || (own == bucket && (count == 0 || better(last[count - 1], c)));
  });
  return kept;
}

}  // namespace

void require_in_range(const SamplingParameters& p) {
  require_range<float>("temperature", p.temperature, 0, 100);
  require_range<float>("top_p", p.top_p, 0, 1);
  require_range<float>("min_p", p.min_p, 0, 1);
  require_range<float>("presence_penalty", p.presence_penalty, -2, 2);
  require_range<float>("frequency_penalty", p.frequency_penalty, -2, 2);
  require_range<float>("repetition_penalty", p.repetition_penalty, 0.01f, 100);
  if (p.logit_bias.size() > kMostBiases)
    throw Error(Status::bad_argument, "logit_bias: expected at most " + std::to_string(kMostBiases) + " tokens, found " +
                                          std::to_string(p.logit_bias.size()));
  for (const LogitBias& each : p.logit_bias)
    require_range<float>("logit_bias of token " + std::to_string(each.token), each.value, -100, 100);
}

Sampler::Sampler(uint32_t vocabulary, uint32_t usable, SamplingParameters parameters)
    : parameters_(std::move(parameters)), usable_(usable), marks_(vocabulary) {
  require_in_range(parameters_);
  if (usable == 0 || usable > vocabulary)
    throw Error(Status::bad_argument,
                "usable: expected 1 to " + std::to_string(vocabulary) + ", found " + std::to_string(usable));
  penalizes_ = parameters_.repetition_penalty != 1 || parameters_.presence_penalty != 0 || parameters_.frequency_penalty != 0;
  raises_ = parameters_.repetition_penalty < 1 || parameters_.presence_penalty < 0 || parameters_.frequency_penalty < 0;
  std::vector<LogitBias>& biases = parameters_.logit_bias;
  std::sort(biases.begin(), biases.end(), [](const LogitBias& a, const LogitBias& b) { return a.token < b.token; });
  for (const LogitBias& each : biases) {
    require_token("logit_bias", each.token);
    if (marks_[each.token] & kBiased)
      throw Error(Status::bad_argument, "logit_bias: expected each token once, found " + std::to_string(each.token) + " twice");
    marks_[each.token] |= kBiased;
    raises_ = raises_ || each.value > 0;
  }
  for (const std::vector<int32_t>* tokens : {&parameters_.stop_tokens, &parameters_.never})
    for (const int32_t token : *tokens)
      if (token >= 0 && static_cast<size_t>(token) < marks_.size()) marks_[token] |= kBarred;
}

void Sampler::require_token(const char* name, int32_t token) const {
  if (token < 0 || static_cast<size_t>(token) >= marks_.size())
    throw Error(Status::bad_argument, std::string(name) + ": expected tokens from 0 to " + std::to_string(marks_.size() - 1) +
                                          ", found " + std::to_string(token));
}

void Sampler::accept(int32_t token, bool generated) {
  require_token("token", token);
  history_.push_back(static_cast<uint32_t>(token) | (generated ? kGenerated : 0));
  count(history_.back());
}

void Sampler::count(uint32_t accepted) {
  const auto token = static_cast<int32_t>(accepted & ~kGenerated);
  uint8_t& mark = marks_[token];
  mark |= kSeen;
  if (!(accepted & kGenerated)) return;
  ++generated_;
  if ((mark & kCount) < kCount) ++mark;
  if ((mark & kCount) < kCount) return;
  const auto at = std::lower_bound(many_.begin(), many_.end(), token, before);
  if (at != many_.end() && at->first == token)
    ++at->second;
  else
    many_.insert(at, {token, kCount});
}

uint32_t Sampler::count_of(int32_t token) const {
  const uint8_t count = marks_[token] & kCount;
  return count < kCount ? count : std::lower_bound(many_.begin(), many_.end(), token, before)->second;
}

void Sampler::truncate(size_t length) {
  if (length >= history_.size()) return;
  if (!penalizes_) {
    for (size_t i = length; i < history_.size(); ++i) generated_ -= (history_[i] & kGenerated) != 0;
    return history_.resize(length);
  }
  for (const uint32_t each : history_) marks_[each & ~kGenerated] &= kBiased | kBarred;
  many_.clear();
  generated_ = 0;
  history_.resize(length);
  for (const uint32_t each : history_) count(each);
}

// The logit of a marked token after bias and penalties.
float Sampler::adjusted(float logit, int32_t token, size_t index) const {
  const SamplingParameters& p = parameters_;
  const uint8_t mark = marks_[token];
  if (mark & kBarred && (index < p.min_tokens || std::find(p.never.begin(), p.never.end(), token) != p.never.end()))
    return kNever;
  float v = logit;
  if (mark & kBiased) {
    const auto lower = [](const LogitBias& bias, int32_t of) { return bias.token < of; };
    v += std::lower_bound(p.logit_bias.begin(), p.logit_bias.end(), token, lower)->value;
  }
  if (mark & kSeen) v = v > 0 ? v / p.repetition_penalty : v * p.repetition_penalty;
  if (mark & kCount) {
    v -= p.frequency_penalty * static_cast<float>(count_of(token));
    v -= p.presence_penalty;
  }
  return v;
}

int32_t Sampler::sample(const float* logits, const TokenMask* mask, std::optional<size_t> index) const {
  const DefaultRounding rounding;
  return pick(logits, mask, index.value_or(generated_));
}

Logprobs Sampler::logprobs(const float* logits, int32_t token, size_t top) const {
  require_token("token", token);
  return q3e::logprobs(logits, usable_, token, top);
}

// Not inlined: no arithmetic may move to where the rounding is another.
[[gnu::noinline]] int32_t Sampler::pick(const float* logits, const TokenMask* mask, size_t index) const {
  const SamplingParameters& p = parameters_;
  const size_t keep = p.temperature == 0 ? 1 : p.top_k == 0 ? usable_ : std::min<size_t>(p.top_k, usable_);
  const auto adjust = [&](float logit, int32_t token) {
    if (mask && !mask->allows(token)) return kNever;
    return marks_[token] ? adjusted(logit, token, index) : logit;
  };
  const auto none_allowed = [&](size_t begin) {
    static_assert(kRun == 64);
    const size_t word = begin / 32;
    return mask && (word >= mask->count || mask->words[word] == 0) && (word + 1 >= mask->count || mask->words[word + 1] == 0);
  };
  // Not kept from token to token: of a whole vocabulary it is larger than all else that a sequence holds.
  std::vector<Candidate> candidates = best_logits(logits, usable_, keep, raises_, adjust, none_allowed);
  if (candidates.empty())
    throw Error(Status::bad_argument, "logits: expected at least one above -infinity among what may be picked, found none");
  if (p.temperature == 0) return candidates.front().token;
  // From here on `logit` holds the weight exp((logit - best) / temperature). Sums are taken in an order that no library chooses.
  float best = kNever;
  for (const Candidate& c : candidates) best = max_f32(c.logit, best);
  double kept = to_weights(candidates, best, p.temperature);
  if (p.top_p < 1 || p.min_p > 0) kept = keep_nucleus(candidates, p.top_p * kept, p.min_p);
  double at = draw(p.seed, p.choice, index) * kept;
  for (const Candidate& c : candidates) {
    at -= c.logit;
    if (at < 0) return c.token;
  }
  return candidates.back().token;
}

}  // namespace q3e
