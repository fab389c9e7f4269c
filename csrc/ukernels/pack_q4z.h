// The quantizer of q4z: w = d * (s * q + z). See pack_impl.h.
#pragma once

#include "ukernels/pack_lanes.h"

namespace q3e {
namespace {

// Candidates for d: the block's largest magnitude over these. All search lists were chosen by error and time on normal and
// heavy-tailed weights; trying everything (ten times the time) gains 0.6 % more.
constexpr float kGridSizes[] = {127.0f, 123.0f, 119.0f, 115.0f, 111.0f, 107.0f};
// Candidates for s: the group's range over 15, rounded up, less these.
constexpr float kStepsDown[] = {-1.0f, 0.0f, 1.0f};
// Candidates for z: levels centred on the group's range, then moved by these parts of s.
constexpr float kPhases[] = {0.0f, 0.17f, -0.17f, 0.33f, -0.33f, 0.5f};
// Neighbours of the best fit that are tried at the end.
constexpr float kOffsetSteps[] = {2.0f, 1.0f};

struct GroupFit {
  Lanes s, z, error;  // error in units of d squared
};

// The q that keep s * q + z at most 127. z is an int8, so q = 0 always fits.
Q3E_INLINE Lanes highest_q(Lanes s, Lanes z) {
  // floor((127 - z) / s), exactly: the quotient of small integers is at least 1/16 away from the next integer unless it is one.
  const Lanes quotient = (127.0f - z) / s;
  return least(round_even(quotient - 0.46875f), all(15.0f));
}

// Weighted sum of (u - (s q + z))^2 for the nearest q, u: Lanes [n].
template <class Columns>
Q3E_INLINE Lanes group_error(const Lanes* u, uint32_t n, Columns columns, Lanes s, Lanes is, Lanes z) {
  const Lanes top = highest_q(s, z), origin = z * is;
  Lanes error{};
  for (uint32_t k = 0; k < n; ++k) {
    const Lanes t = u[k] * is - origin;
    const Lanes e = t - round_even(clamp(t, all(0.0f), top));
    error += columns.times(e * e, k);
  }
  return error * (s * s);
}

template <class Columns>
Q3E_INLINE void try_fit(const Lanes* u, uint32_t n, Columns columns, Lanes s, Lanes is, Lanes z, GroupFit& best) {
  const Lanes error = group_error(u, n, columns, s, is, z);
  const IntLanes better = error < best.error;
  best.error = choose(better, error, best.error);
  best.s = choose(better, s, best.s);
  best.z = choose(better, z, best.z);
}

Q3E_INLINE Lanes as_offset(Lanes z) { return clamp(round_even(z), all(-128.0f), all(127.0f)); }

template <class Columns>
static inline GroupFit search_group(const Lanes* u, uint32_t n, Columns columns) {
  Lanes low = u[0], high = u[0];
  for (uint32_t k = 1; k < n; ++k) {
    low = least(low, u[k]);
    high = most(high, u[k]);
  }
  const Lanes middle = (low + high) * 0.5f;
  const Lanes widest = round_even((high - low) * (1.0f / 15.0f) + 0.5f);
  GroupFit best{all(1.0f), all(0.0f), all(3.0e38f)};
  for (const float down : kStepsDown) {
    const Lanes s = clamp(widest - down, all(1.0f), all(16.0f));
    const Lanes is = 1.0f / s;
    for (const float phase : kPhases) try_fit(u, n, columns, s, is, as_offset(middle - s * (7.5f + phase)), best);
  }
  return best;
}

// Better z, and s, next to the best so far.
template <class Columns>
static inline void polish_group(const Lanes* u, uint32_t n, Columns columns, GroupFit& best) {
  for (const float step : kOffsetSteps) {
    const Lanes s = best.s, z = best.z, is = 1.0f / s;
    try_fit(u, n, columns, s, is, as_offset(z + step), best);
    try_fit(u, n, columns, s, is, as_offset(z - step), best);
  }
  for (const float step : kScaleSteps) {
    const Lanes s = clamp(best.s + step, all(1.0f), all(16.0f)), is = 1.0f / s;
    const Lanes z = best.z + (best.s - s) * 7.5f;
    try_fit(u, n, columns, s, is, as_offset(z), best);
    try_fit(u, n, columns, s, is, as_offset(z + s * 0.25f), best);
    try_fit(u, n, columns, s, is, as_offset(z - s * 0.25f), best);
  }
}

template <uint32_t kGroup, class Columns>
static inline void pack_q4z(const Lanes* w, uint32_t n, Columns columns, uint8_t* scale, uint8_t* sub_scale, uint8_t* sub_offset,
                            uint8_t* quants) {
  constexpr uint32_t kGroups = kSuperBlock / kGroup;
  const uint32_t groups = n / kGroup;
  const Lanes amax = largest_magnitude(w, n);
  Lanes d{}, best_error = all(3.0e38f);
  GroupFit fits[kGroups];
  for (uint32_t g = 0; g < groups; ++g) fits[g] = {all(1.0f), Lanes{}, Lanes{}};
  Lanes u[kGroup];
  for (const float size : kGridSizes) {
    const Lanes candidate = through_f16(amax / size);
    const Lanes id = inverse(candidate);
    GroupFit found[kGroups];
    Lanes error{};
    for (uint32_t g = 0; g < groups; ++g) {
      for (uint32_t k = 0; k < kGroup; ++k) u[k] = w[g * kGroup + k] * id;
      found[g] = search_group(u, kGroup, columns.from(g * kGroup));
      error += found[g].error;
    }
    error = error * candidate * candidate;
    const IntLanes better = (error < best_error) & (candidate > all(0.0f));
    best_error = choose(better, error, best_error);
    d = choose(better, candidate, d);
    for (uint32_t g = 0; g < groups; ++g) {
      fits[g].s = choose(better, found[g].s, fits[g].s);
      fits[g].z = choose(better, found[g].z, fits[g].z);
      fits[g].error = choose(better, found[g].error, fits[g].error);
    }
  }
  // The best d for the codes that were found, then the best neighbours of the codes for that d.
  const Lanes id = inverse(d);
  Lanes wc{}, cc{};
  for (uint32_t g = 0; g < groups; ++g) {
    for (uint32_t k = 0; k < kGroup; ++k) u[k] = w[g * kGroup + k] * id;
    polish_group(u, kGroup, columns.from(g * kGroup), fits[g]);
    const Lanes s = fits[g].s, z = fits[g].z, is = 1.0f / s, top = highest_q(s, z);
    for (uint32_t k = 0; k < kGroup; ++k) {
      const Lanes code = s * round_even(clamp(u[k] * is - z * is, all(0.0f), top)) + z;
      const Lanes counted = columns.times(code, g * kGroup + k);
      wc += w[g * kGroup + k] * counted;
      cc += code * counted;
    }
  }
  const Lanes refitted = through_f16(wc * inverse(cc));
  d = choose(refitted > all(0.0f), refitted, d);
  const Lanes used = inverse(d);
  const IntLanes empty = d == all(0.0f);
  WordLanes s_words{}, z_words[kGroups / 4]{};
  IntLanes q[kGroup];
  for (uint32_t g = 0; g < groups; ++g) {
    const Lanes s = choose(empty, all(1.0f), fits[g].s), z = choose(empty, all(0.0f), fits[g].z);
    const Lanes is = 1.0f / s, top = highest_q(s, z);
    for (uint32_t k = 0; k < kGroup; ++k)
      q[k] = to_int(round_even(clamp(w[g * kGroup + k] * used * is - z * is, all(0.0f), top)));
    store_q4(q, kGroup, quants + size_t{g} * kGroup * 8);
    s_words |= (WordLanes)(to_int(s) - 1) << (4 * g);
    z_words[g / 4] |= ((WordLanes)to_int(z) & 255u) << (8 * (g % 4));
  }
  store_f16(d, scale);
  if (kGroup == 32) {
    store_words(s_words, sub_scale);
  } else {
    for (uint32_t r = 0; r < kLanes; ++r) {
      const uint16_t word = static_cast<uint16_t>(s_words[r]);
      std::memcpy(sub_scale + 2 * r, &word, 2);
    }
  }
  for (uint32_t i = 0; i < kGroups / 4; ++i) store_words(z_words[i], sub_offset + size_t{i} * 64);
}

}  // namespace
}  // namespace q3e
