// The quantizer of q6z: w = d * (s * q + (4 - s) * c - 128). See pack_impl.h.
#pragma once

#include "ukernels/pack_lanes.h"

namespace q3e {
namespace {

// Candidates for d: the block's largest magnitude over these. Its weight lies at the negative end, which reaches further.
constexpr float kGridSizesQ6[] = {128.0f, 124.0f, 119.0f, 114.0f, 108.0f, 102.0f};
// Candidates for s: the group's range over 63, rounded up, less these. Trying every s and three c each for 18 sizes (eight times
// the fits) makes the rms error 2.5 % smaller.
constexpr float kStepsDownQ6[] = {0.0f, 1.0f};
constexpr uint32_t kGroupQ6 = 32;

struct GroupFitQ6 {
  Lanes s, c, error;  // error in units of d squared
};

Q3E_INLINE Lanes as_step_q6(Lanes s) { return clamp(s, all(1.0f), all(4.0f)); }
Q3E_INLINE Lanes as_centre_q6(Lanes c) { return clamp(c, all(0.0f), all(63.0f)); }

// The c that brings the middle of the levels nearest to `middle`; with s = 4 any c means the same.
Q3E_INLINE Lanes centre_q6(Lanes s, Lanes middle) { return as_centre_q6(round_even((middle - s * 31.5f) * inverse(4.0f - s))); }

// Takes s and c where they are better. u: Lanes [kGroupQ6], w / d + 128.
template <class Columns>
Q3E_INLINE void try_fit_q6(const Lanes* u, Columns columns, Lanes s, Lanes c, GroupFitQ6& best) {
  const Lanes is = 1.0f / s, origin = (4.0f - s) * c * is;
  Lanes error{};
  for (uint32_t k = 0; k < kGroupQ6; ++k) {
    const Lanes t = u[k] * is - origin;
    const Lanes e = t - round_even(clamp(t, all(0.0f), all(63.0f)));
    error += columns.times(e * e, k);
  }
  error = error * (s * s);
  const IntLanes better = error < best.error;
  best.error = choose(better, error, best.error);
  best.s = choose(better, s, best.s);
  best.c = choose(better, c, best.c);
}

template <class Columns>
static inline GroupFitQ6 search_group_q6(const Lanes* u, Columns columns) {
  Lanes low = u[0], high = u[0];
  for (uint32_t k = 1; k < kGroupQ6; ++k) {
    low = least(low, u[k]);
    high = most(high, u[k]);
  }
  const Lanes middle = (low + high) * 0.5f;
  const Lanes widest = as_step_q6(round_even((high - low) * (1.0f / 63.0f) + 0.5f));
  GroupFitQ6 best{all(1.0f), all(32.0f), all(3.0e38f)};
  for (const float down : kStepsDownQ6) {
    const Lanes s = as_step_q6(widest - down);
    try_fit_q6(u, columns, s, centre_q6(s, middle), best);
  }
  return best;
}

// Better c, and s, next to the best so far.
template <class Columns>
static inline void polish_group_q6(const Lanes* u, Columns columns, GroupFitQ6& best) {
  for (int round = 0; round < 2; ++round) {
    const Lanes s = best.s, c = best.c;
    try_fit_q6(u, columns, s, as_centre_q6(c + 1.0f), best);
    try_fit_q6(u, columns, s, as_centre_q6(c - 1.0f), best);
  }
  const Lanes middle = (4.0f - best.s) * best.c + best.s * 31.5f, before = best.s;
  for (const float step : kScaleSteps) {
    const Lanes s = as_step_q6(before + step), c = centre_q6(s, middle);
    try_fit_q6(u, columns, s, c, best);
    try_fit_q6(u, columns, s, as_centre_q6(c + 1.0f), best);
    try_fit_q6(u, columns, s, as_centre_q6(c - 1.0f), best);
  }
}

template <class Columns>
static inline void pack_q6z(const Lanes* w, uint32_t n, Columns columns, uint8_t* scale, uint8_t* sub_scale, uint8_t* quants) {
  constexpr uint32_t kGroups = kSuperBlock / kGroupQ6;
  const uint32_t groups = n / kGroupQ6;
  const Lanes amax = largest_magnitude(w, n);
  Lanes top{};  // the weight of largest magnitude, with its sign; the first of equals
  for (uint32_t k = n; k-- > 0;) top = choose(magnitude(w[k]) == amax, w[k], top);
  const Lanes sign = choose(top > all(0.0f), all(-1.0f), all(1.0f));
  Lanes d{}, best_error = all(3.0e38f);
  GroupFitQ6 fits[kGroups];
  for (uint32_t g = 0; g < groups; ++g) fits[g] = {all(1.0f), all(32.0f), Lanes{}};
  Lanes u[kGroupQ6];
  for (const float size : kGridSizesQ6) {
    const Lanes candidate = through_f16(amax / size);
    const Lanes id = inverse(candidate * sign);
    GroupFitQ6 found[kGroups];
    Lanes error{};
    for (uint32_t g = 0; g < groups; ++g) {
      for (uint32_t k = 0; k < kGroupQ6; ++k) u[k] = w[g * kGroupQ6 + k] * id + 128.0f;
      found[g] = search_group_q6(u, columns.from(g * kGroupQ6));
      error += found[g].error;
    }
    error = error * candidate * candidate;
    const IntLanes better = (error < best_error) & (candidate > all(0.0f));
    best_error = choose(better, error, best_error);
    d = choose(better, candidate * sign, d);
    for (uint32_t g = 0; g < groups; ++g) {
      fits[g].s = choose(better, found[g].s, fits[g].s);
      fits[g].c = choose(better, found[g].c, fits[g].c);
      fits[g].error = choose(better, found[g].error, fits[g].error);
    }
  }
  // As in q4z: better codes for that d, then the best d for the codes.
  const Lanes id = inverse(d);
  Lanes wc{}, cc{};
  for (uint32_t g = 0; g < groups; ++g) {
    for (uint32_t k = 0; k < kGroupQ6; ++k) u[k] = w[g * kGroupQ6 + k] * id + 128.0f;
    polish_group_q6(u, columns.from(g * kGroupQ6), fits[g]);
    const Lanes s = fits[g].s, is = 1.0f / s, offset = (4.0f - s) * fits[g].c;
    for (uint32_t k = 0; k < kGroupQ6; ++k) {
      const Lanes code = s * round_even(clamp(u[k] * is - offset * is, all(0.0f), all(63.0f))) + offset - 128.0f;
      const Lanes counted = columns.times(code, g * kGroupQ6 + k);
      wc += w[g * kGroupQ6 + k] * counted;
      cc += code * counted;
    }
  }
  const Lanes refitted = through_f16(wc * inverse(cc));
  d = choose(refitted == all(0.0f), d, refitted);
  const Lanes used = inverse(d);
  const IntLanes empty = d == all(0.0f);
  WordLanes words[kGroups / 4]{};
  IntLanes q[kGroupQ6];
  for (uint32_t g = 0; g < groups; ++g) {
    const Lanes s = choose(empty, all(1.0f), fits[g].s), c = choose(empty, all(32.0f), fits[g].c);
    const Lanes is = 1.0f / s, origin = (4.0f - s) * c * is;
    for (uint32_t k = 0; k < kGroupQ6; ++k) {
      const Lanes t = (w[g * kGroupQ6 + k] * used + 128.0f) * is - origin;
      q[k] = to_int(round_even(clamp(t, all(0.0f), all(63.0f))));
    }
    store_q6(q, kGroupQ6, quants + size_t{g} * kGroupQ6 * 12);
    words[g / 4] |= (WordLanes)(to_int(s) - 1 + 4 * to_int(c)) << (8 * (g % 4));
  }
  store_f16(d, scale);
  for (uint32_t i = 0; i < kGroups / 4; ++i) store_words(words[i], sub_scale + size_t{i} * 64);
}

}  // namespace
}  // namespace q3e
