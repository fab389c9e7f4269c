#include "runtime/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "base/error.h"
#include "base/rounding.h"
#include "ukernels/math_scalar.h"

namespace q3e {
namespace {

constexpr uint8_t kSeen = 1, kGenerated = 2;
constexpr float kNever = -std::numeric_limits<float>::infinity();

// Whether one of the first `count` passes the floor: a loop that compilers turn into vector compares.
bool any_above(const float* logits, size_t count, float floor) {
  uint32_t above = 0;
  for (size_t i = 0; i < count; ++i) above |= logits[i] > floor;
  return above != 0;
}

}  // namespace

void require_in_range(const SamplingParameters& p) {
  require_range<float>("temperature", p.temperature, 0, 100);
  require_range<float>("top_p", p.top_p, 0, 1);
  require_range<float>("min_p", p.min_p, 0, 1);
  require_range<float>("presence_penalty", p.presence_penalty, -2, 2);
  require_range<float>("repetition_penalty", p.repetition_penalty, 0.01f, 100);
}

Sampler::Sampler(uint32_t vocabulary, const SamplingParameters& p) : parameters_(p), state_(p.seed), seen_(vocabulary) {
  require_in_range(p);
}

void Sampler::accept(int32_t token, bool generated) {
  require_range<int64_t>("token", token, 0, static_cast<int64_t>(seen_.size()) - 1);
  history_.push_back({token, static_cast<uint8_t>(generated ? kSeen | kGenerated : kSeen)});
  seen_[token] |= history_.back().bits;
}

void Sampler::truncate(size_t length) {
  if (length >= history_.size()) return;
  for (size_t i = length; i < history_.size(); ++i) seen_[history_[i].token] = 0;
  history_.resize(length);
  for (const Accepted& each : history_) seen_[each.token] |= each.bits;
}

// splitmix64 (Steele et al. 2014)
double Sampler::uniform() {
  uint64_t z = state_ += 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return static_cast<double>((z ^ (z >> 31)) >> 11) * 0x1p-53;
}

// The logit after the penalties.
float Sampler::penalized(float logit, int32_t token) const {
  const float v = logit > 0 ? logit / parameters_.repetition_penalty : logit * parameters_.repetition_penalty;
  return seen_[token] & kGenerated ? v - parameters_.presence_penalty : v;
}

// The `keep` best, best first, or all in the order of their tokens when that is all of them.
std::vector<Sampler::Candidate> Sampler::collect(const float* logits, size_t keep) const {
  const bool penalties = parameters_.repetition_penalty != 1 || parameters_.presence_penalty != 0;
  const bool all = keep == seen_.size();
  float floor = kNever;  // what a logit must pass: that of the worst of the best so far, who stands on top of a heap
  std::vector<Candidate> candidates;
  candidates.reserve(keep);
  // Penalties that can only lower a logit leave what is below the floor there: most of a vocabulary is passed over in runs.
  const bool only_lower = parameters_.repetition_penalty >= 1 && parameters_.presence_penalty >= 0;
  constexpr size_t kRun = 64;
  for (size_t i = 0; i < seen_.size(); ++i) {
    while (only_lower && i % kRun == 0 && i + kRun < seen_.size() && !any_above(logits + i, kRun, floor)) i += kRun;
    const auto token = static_cast<int32_t>(i);
    const float v = penalties && seen_[i] && logits[i] > kNever ? penalized(logits[i], token) : logits[i];
    if (!(v > floor)) continue;
    if (candidates.size() == keep) {
      std::pop_heap(candidates.begin(), candidates.end(), better);
      candidates.back() = {v, token};
      std::push_heap(candidates.begin(), candidates.end(), better);
    } else {
      candidates.push_back({v, token});
      if (all || candidates.size() < keep) continue;
      std::make_heap(candidates.begin(), candidates.end(), better);
    }
    floor = candidates.front().logit;
  }
  if (!all) std::sort(candidates.begin(), candidates.end(), better);
  return candidates;
}

int32_t Sampler::sample(const float* logits) {
  const DefaultRounding rounding;
  return pick(logits);
}

// Not inlined: no arithmetic may move to where the rounding is another.
[[gnu::noinline]] int32_t Sampler::pick(const float* logits) {
  const SamplingParameters& p = parameters_;
  const size_t keep = p.temperature == 0 ? 1 : p.top_k == 0 ? seen_.size() : std::min<size_t>(p.top_k, seen_.size());
  // Not kept from token to token: of a whole vocabulary it is larger than all else that a sequence holds.
  std::vector<Candidate> candidates = collect(logits, keep);
  if (candidates.empty()) throw Error(Status::bad_argument, "logits: expected at least one above -infinity, found none");
  if (p.temperature == 0) return candidates.front().token;
  // From here on `logit` holds the weight exp((logit - best) / temperature). Sums are taken in an order that no library chooses.
  float best = kNever;
  for (const Candidate& c : candidates) best = max_f32(c.logit, best);
  double total = 0;
  for (Candidate& c : candidates) total += c.logit = c.logit == best ? 1.0f : exp_f32((c.logit - best) / p.temperature);
  size_t count = candidates.size();
  double kept = total;
  if (p.top_p < 1 || p.min_p > 0) {
    size_t sorted = keep < seen_.size() ? count : 0;  // a whole vocabulary is sorted no further than the nucleus reaches
    kept = 0;
    for (count = 0; count < candidates.size(); kept += candidates[count++].logit) {
      if (count == sorted) {
        const size_t next = std::min(candidates.size(), std::max<size_t>(256, 4 * sorted));
        const auto at = [&](size_t i) { return candidates.begin() + static_cast<ptrdiff_t>(i); };
        std::partial_sort(at(sorted), at(next), candidates.end(), better);
        sorted = next;
      }
      if (count > 0 && (kept >= p.top_p * total || candidates[count].logit < p.min_p)) break;
    }
  }
  double at = uniform() * kept;
  for (size_t i = 0; i < count; ++i) {
    at -= candidates[i].logit;
    if (at < 0) return candidates[i].token;
  }
  return candidates[count - 1].token;
}

}  // namespace q3e
