// Routing to experts and what follows from it, for any tier's vocabulary S.
#pragma once

#include "ukernels/kernels.h"
#include "ukernels/math_simd.h"

namespace q3e {
namespace {

// The largest `top` of n values by (value, lowest index): a short sorted list through which all values pass.
void take_largest(const float* values, uint32_t n, uint32_t top, uint32_t* chosen, float* taken) {
  for (uint32_t i = 0; i < n; ++i) {
    const float v = values[i];
    uint32_t at = i < top ? i : top;
    if (at == top) {
      if (!(v > taken[top - 1])) continue;
      at = top - 1;
    }
    for (; at > 0 && v > taken[at - 1]; --at) {
      taken[at] = taken[at - 1];
      chosen[at] = chosen[at - 1];
    }
    taken[at] = v;
    chosen[at] = i;
  }
}

template <class S>
void route_simd(const float* logits, uint32_t experts, uint32_t top, bool normalize, uint32_t* chosen, float* weights) {
  alignas(64) float shares[kMaxExperts];
  const typename S::F lowest = S::set1(-__builtin_inff());
  typename S::F most = lowest;
  for (uint32_t e = 0; e < experts; e += 16) {
    const uint32_t left = experts - e;
    const typename S::F v = S::load(logits + e);
    most = S::max(left < 16 ? S::first_lanes(v, left, lowest) : v, most);
  }
  const typename S::F top_logit = S::set1(S::fold_max(most));
  typename S::F lanes = S::zero();
  for (uint32_t e = 0; e < experts; e += 16) {
    const uint32_t left = experts - e;
    typename S::F v = exp_simd<S>(S::sub(S::load(logits + e), top_logit));
    if (left < 16) v = S::first_lanes(v, left, S::zero());
    S::store(shares + e, v);
    lanes = S::add(lanes, v);
  }
  const typename S::F sum = S::set1(S::fold(lanes));
  for (uint32_t e = 0; e < experts; e += 16) S::store(shares + e, S::div(S::load(shares + e), sum));
  take_largest(shares, experts, top, chosen, weights);
  if (!normalize) return;
  float total = 0;
  for (uint32_t r = 0; r < top; ++r) total += weights[r];
  for (uint32_t r = 0; r < top; ++r) weights[r] /= total;
}

template <class S>
void add_weighted_simd(const float* const* rows, const float* weights, uint32_t count, uint32_t n, float* x) {
  for (uint32_t i = 0; i < n; i += 16) {
    typename S::F sum = S::zero();
    for (uint32_t r = 0; r < count; ++r) sum = S::fma(S::set1(weights[r]), S::load(rows[r] + i), sum);
    S::store(x + i, S::add(S::load(x + i), sum));
  }
}

}  // namespace
}  // namespace q3e
