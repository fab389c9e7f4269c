// What the quantizers of q4z and q6z share: a float16 scale d in 256 weights, and in each group of them a step s between levels
// and one more integer x that says where the levels lie. See pack_impl.h.
#pragma once

#include "ukernels/pack_lanes.h"

namespace q3e {
namespace {

struct GroupFit {
  Lanes s, x, error;  // error in units of d squared
};

// A kind K of groups:
//   kGroup, kSizes, kEmpty    columns of a group; the block's largest magnitude over these are candidates for d; x of no weights
//   kSigned                   whether d has the sign that puts the largest weight at the negative end, which reaches further
//   level(v), weight(level)   w / d as the levels s * q + offset(s, x) count it, and back
//   top(s, x)                 the largest q
//   search(u, columns), polish(u, columns, best)   of a group's levels u: a first fit, and a better one next to it

// Takes s and x where they are better: by the weighted sum of (u - (s q + offset))^2 for the nearest q. u: Lanes [kGroup].
template <class K, class Columns>
Q3E_INLINE void try_fit(const Lanes* u, Columns columns, Lanes s, Lanes x, GroupFit& best) {
  const Lanes is = 1.0f / s, origin = K::offset(s, x) * is, top = K::top(s, x);
  Lanes error{};
  for (uint32_t k = 0; k < K::kGroup; ++k) {
    const Lanes t = u[k] * is - origin;
    const Lanes e = t - round_even(clamp(t, all(0.0f), top));
    error += columns.times(e * e, k);
  }
  error = error * (s * s);
  const IntLanes better = error < best.error;
  best.error = choose(better, error, best.error);
  best.s = choose(better, s, best.s);
  best.x = choose(better, x, best.x);
}

// Calls store(g, s, x, q) for each group of a block, q: IntLanes [kGroup].
template <class K, class Columns, class Store>
static inline void pack_groups(const Lanes* w, uint32_t n, Columns columns, uint8_t* scale, Store&& store) {
  constexpr uint32_t kGroup = K::kGroup;
  const uint32_t groups = n / kGroup;
  const Lanes amax = largest_magnitude(w, n);
  Lanes sign = all(1.0f);
  if constexpr (K::kSigned) sign = choose(largest_weight(w, n, amax) > all(0.0f), all(-1.0f), sign);
  Lanes d{}, best_error = all(3.0e38f);
  GroupFit fits[kSuperBlock / kGroup];
  for (uint32_t g = 0; g < groups; ++g) fits[g] = {all(1.0f), all(K::kEmpty), Lanes{}};
  Lanes u[kGroup];
  for (const float size : K::kSizes) {
    const Lanes candidate = through_f16(amax / size);
    const Lanes id = inverse(candidate * sign);
    GroupFit found[kSuperBlock / kGroup];
    Lanes error{};
    for (uint32_t g = 0; g < groups; ++g) {
      for (uint32_t k = 0; k < kGroup; ++k) u[k] = K::level(w[g * kGroup + k] * id);
      found[g] = K::search(u, columns.from(g * kGroup));
      error += found[g].error;
    }
    error = error * candidate * candidate;
    const IntLanes better = (error < best_error) & (candidate > all(0.0f));
    best_error = choose(better, error, best_error);
    d = choose(better, candidate * sign, d);
    for (uint32_t g = 0; g < groups; ++g) {
      fits[g].s = choose(better, found[g].s, fits[g].s);
      fits[g].x = choose(better, found[g].x, fits[g].x);
      fits[g].error = choose(better, found[g].error, fits[g].error);
    }
  }
  // The best neighbours of these codes for that d, then the best d for the codes.
  const Lanes id = inverse(d);
  Lanes wc{}, cc{};
  for (uint32_t g = 0; g < groups; ++g) {
    for (uint32_t k = 0; k < kGroup; ++k) u[k] = K::level(w[g * kGroup + k] * id);
    K::polish(u, columns.from(g * kGroup), fits[g]);
    const Lanes s = fits[g].s, is = 1.0f / s, offset = K::offset(s, fits[g].x), top = K::top(s, fits[g].x);
    for (uint32_t k = 0; k < kGroup; ++k) {
      const Lanes code = K::weight(s * round_even(clamp(u[k] * is - offset * is, all(0.0f), top)) + offset);
      const Lanes counted = columns.times(code, g * kGroup + k);
      wc += w[g * kGroup + k] * counted;
      cc += code * counted;
    }
  }
  const Lanes refitted = through_f16(wc * inverse(cc));
  d = choose(K::kSigned ? refitted != all(0.0f) : refitted > all(0.0f), refitted, d);
  const Lanes used = inverse(d);
  const IntLanes empty = d == all(0.0f);
  IntLanes q[kGroup];
  for (uint32_t g = 0; g < groups; ++g) {
    const Lanes s = choose(empty, all(1.0f), fits[g].s), x = choose(empty, all(K::kEmpty), fits[g].x);
    const Lanes is = 1.0f / s, origin = K::offset(s, x) * is, top = K::top(s, x);
    for (uint32_t k = 0; k < kGroup; ++k)
      q[k] = to_int(round_even(clamp(K::level(w[g * kGroup + k] * used) * is - origin, all(0.0f), top)));
    store(g, s, x, q);
  }
  store_f16(d, scale);
}

}  // namespace
}  // namespace q3e
