// The best of a row of logits.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

namespace q3e {

constexpr float kNever = -std::numeric_limits<float>::infinity();

struct Candidate {
  float logit;
  int32_t token;
};

// Best first; of equal ones the lower token.
inline bool better(const Candidate& a, const Candidate& b) { return a.logit != b.logit ? a.logit > b.logit : a.token < b.token; }

// Whether one of the first `count` passes the floor: a loop that compilers turn into vector compares.
inline bool any_above(const float* logits, size_t count, float floor) {
  uint32_t above = 0;
  for (size_t i = 0; i < count; ++i) above += logits[i] > floor;
  return above != 0;
}

constexpr size_t kRun = 64;  // logits that are passed over together

// The `keep` best of logits [count], best first, or all in the order of their tokens when that is all of them; NaN and -infinity
// are none. adjust(logit, token) is what counts in place of a logit; `raises`: it may be above the logit, else runs of which none
// is among the best so far are passed over. none_of(begin): none of the kRun tokens from there is wanted.
template <class Adjust, class NoneOf>
std::vector<Candidate> best_logits(const float* logits, size_t count, size_t keep, bool raises, const Adjust& adjust,
                                   const NoneOf& none_of) {
  const bool all = keep == count;
  float floor = kNever;  // what a logit must pass: that of the worst of the best so far, who stands on top of a heap
  std::vector<Candidate> candidates;
  candidates.reserve(keep);
  for (size_t i = 0; i < count; ++i) {
    while (i % kRun == 0 && i + kRun < count && (none_of(i) || (!raises && !any_above(logits + i, kRun, floor)))) i += kRun;
    if (!raises && !(logits[i] > floor)) continue;
    const auto token = static_cast<int32_t>(i);
    const float v = adjust(logits[i], token);
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

}  // namespace q3e
