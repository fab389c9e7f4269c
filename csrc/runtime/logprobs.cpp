#include "runtime/logprobs.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <string>

#include "base/error.h"
#include "base/rounding.h"
#include "runtime/best_logits.h"
#include "runtime/exp_pair.h"
#include "ukernels/math_scalar.h"

namespace q3e {
namespace {

constexpr size_t kLanes = 8;  // sums side by side

// ln x for a finite x >= 1: of its exponent and, by the series of atanh, of its mantissa between sqrt(1/2) and sqrt(2).
double log_f64(double x) {
  const auto bits = std::bit_cast<uint64_t>(x);
  auto exponent = static_cast<double>(static_cast<int64_t>(bits >> 52) - 1023);
  auto m = std::bit_cast<double>((bits & ((uint64_t{1} << 52) - 1)) | (uint64_t{1023} << 52));
  if (m > 1.4142135623730951) {
    m *= 0.5;
    exponent += 1;
  }
  const double s = (m - 1) / (m + 1), z = s * s;
  double p = 0;
  for (int k = 23; k >= 1; k -= 2) p = p * z + 1.0 / k;
  return exponent * 0.6931471805599453 + 2 * s * p;
}

double distance(float logit, float best) { return logit == best ? 0.0 : static_cast<double>(logit) - static_cast<double>(best); }

float largest(const float* logits, size_t count) {
  float best = kNever;
  for (size_t i = 0; i < count; i += kRun) {
    const size_t end = std::min(count, i + kRun);
    if (!any_above(logits + i, end - i, best)) continue;
    for (size_t j = i; j < end; ++j) best = max_f32(logits[j], best);
  }
  return best;
}

// Of exp(logit - best), in one order.
double sum_of_weights(const float* logits, size_t count, float best) {
  Pair sums[kLanes / 2] = {};
  const Pair most = both(best);
  float last[kLanes];
  for (size_t begin = 0; begin < count; begin += kLanes) {
    const float* eight = logits + begin;
    if (count - begin < kLanes) {
      std::fill(std::copy(eight, logits + count, last), last + kLanes, kNever);
      eight = last;
    }
    for (size_t j = 0; j < kLanes; j += 2) {
      const Pair pair = {eight[j], eight[j + 1]};
      sums[j / 2] += exp_f64(pair == most ? Pair{} : pair - most);
    }
  }
  const Pair folded = (sums[0] + sums[2]) + (sums[1] + sums[3]);
  return folded[0] + folded[1];
}

// Not inlined: no arithmetic may move to where the rounding is another.
[[gnu::noinline]] Logprobs of_softmax(const float* logits, size_t usable, int32_t token, size_t top) {
  const float best = largest(logits, usable);
  if (!(best > kNever)) throw Error(Status::bad_argument, "logits: expected at least one above -infinity, found none");
  const double all = log_f64(sum_of_weights(logits, usable, best));
  const auto of = [&](float logit) {
    return logit > kNever ? distance(logit, best) - all : -std::numeric_limits<double>::infinity();
  };
  Logprobs found{static_cast<size_t>(token) < usable ? of(logits[token]) : of(kNever), {}};
  if (top == 0) return found;
  const auto as_it_is = [](float logit, int32_t) { return logit; };
  std::vector<Candidate> candidates =
      best_logits(logits, usable, std::min(top, usable), false, as_it_is, [](size_t) { return false; });
  std::sort(candidates.begin(), candidates.end(), better);  // as all of them come by their tokens
  for (const Candidate& each : candidates) found.top.push_back({each.token, of(each.logit)});
  return found;
}

}  // namespace

Logprobs logprobs(const float* logits, size_t usable, int32_t token, size_t top) {
  if (top > kMostTopLogprobs)
    throw Error(Status::bad_argument,
                "top_logprobs: expected 0 to " + std::to_string(kMostTopLogprobs) + ", found " + std::to_string(top));
  const DefaultRounding rounding;
  return of_softmax(logits, usable, token, top);
}

}  // namespace q3e
