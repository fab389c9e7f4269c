// The quantizers of formats with a float16 scale (and minimum) a group: q8, q4g, q4a. See pack_impl.h.
#pragma once

#include "ukernels/pack_lanes.h"

namespace q3e {
namespace {

// ---- q8: w = d * w8 ----

// Candidates for d: the block's largest magnitude over these; a scale that gives the largest weight a part of a step less or more
// often suits the others better. For blocks of 32 the squared error falls by a sixth against 127 alone, for 256 by a twentieth.
constexpr float kTopsQ8[] = {127.0f, 126.75f, 126.5f, 126.25f, 126.0f, 125.5f, 125.0f, 127.25f, 127.5f};

Q3E_INLINE Lanes code_q8(Lanes w, Lanes id) { return clamp(round_even(w * id), all(-127.0f), all(127.0f)); }

template <class Columns>
static inline void pack_q8(const Lanes* w, uint32_t n, Columns columns, uint8_t* scale, uint8_t* quants) {
  const Lanes amax = largest_magnitude(w, n);
  Lanes d{}, best_error = all(3.0e38f);
  for (const float top : kTopsQ8) {
    const Lanes candidate = through_f16(amax / top), id = inverse(candidate);
    Lanes error{};
    for (uint32_t k = 0; k < n; ++k) {
      const Lanes e = w[k] * id - code_q8(w[k], id);
      error += columns.times(e * e, k);
    }
    error = error * candidate * candidate;
    const IntLanes better = error < best_error;
    best_error = choose(better, error, best_error);
    d = choose(better, candidate, d);
  }
  const Lanes id = inverse(d);
  IntLanes w8[kMostColumns];
  for (uint32_t k = 0; k < n; ++k) w8[k] = to_int(code_q8(w[k], id));
  store_f16(d, scale);
  store_w8(w8, n, quants);
}

// ---- q4g: w = d * (q - 8) ----

// Each candidate puts the largest weight at level c: the scale is refitted by least squares, d = sum(w q) / sum(q q), and the one
// that explains most, sum(w q)^2 / sum(q q), wins. Both signs of c, as the levels reach -8 on one side and 7 on the other.
constexpr float kTopLevels[] = {5.0f,  5.25f, 5.5f,  5.75f, 6.0f,  6.25f, 6.5f,  6.75f, 7.0f,
                                7.25f, 7.5f,  7.75f, 8.0f,  8.25f, 8.5f,  8.75f, 9.0f};
constexpr float kSides[] = {-1.0f, 1.0f};

template <class Columns>
static inline void pack_q4g(const Lanes* w, uint32_t n, Columns columns, uint8_t* scale, uint8_t* quants) {
  const Lanes amax = largest_magnitude(w, n);
  const Lanes per_level = inverse(amax);
  const Lanes sign = choose(largest_weight(w, n, amax) < all(0.0f), all(-1.0f), all(1.0f));
  const Lanes low = all(-8.0f), high = all(7.0f);
  Lanes d{}, best{};
  for (const float level : kTopLevels)
    for (const float side : kSides) {
      const Lanes id = per_level * (sign * (level * side));
      Lanes wq{}, qq{};
      for (uint32_t k = 0; k < n; ++k) {
        const Lanes q = clamp(round_even(w[k] * id), low, high);
        wq += columns.times(w[k] * q, k);
        qq += columns.times(q * q, k);
      }
      const Lanes fit = wq * inverse(qq);
      const Lanes gain = wq * fit;
      const IntLanes better = gain > best;
      best = choose(better, gain, best);
      d = choose(better, fit, d);
    }
  // Alternate: nearest levels for the scale, then the best scale for the levels.
  for (int round = 0; round < 2; ++round) {
    const Lanes id = inverse(d);
    Lanes wq{}, qq{};
    for (uint32_t k = 0; k < n; ++k) {
      const Lanes q = clamp(round_even(clamp(w[k] * id, all(-16.0f), all(16.0f))), low, high);
      wq += columns.times(w[k] * q, k);
      qq += columns.times(q * q, k);
    }
    d = choose(qq == all(0.0f), d, wq * inverse(qq));
  }
  d = through_f16(d);
  const Lanes id = inverse(d);
  IntLanes q[kMostColumns];
  for (uint32_t k = 0; k < n; ++k) q[k] = to_int(clamp(round_even(clamp(w[k] * id, all(-16.0f), all(16.0f))), low, high)) + 8;
  store_f16(d, scale);
  store_q4(q, n, quants);
}

// ---- q4a: w = d * q + m ----

// Steps between the levels as a share of the range over 15, and where the lowest level lies in steps below the lowest weight.
constexpr float kRangeShares[] = {1.02f, 0.98f, 0.94f, 0.9f, 0.86f, 0.82f};
constexpr float kRangeShifts[] = {0.5f, 0.3f, 0.7f, 0.1f, 0.9f};

struct AffineFit {
  Lanes d, m;
};

// Least squares of w = d q + m for the levels nearest to (d, m) before.
template <class Columns>
static inline AffineFit refit_affine(const Lanes* w, uint32_t n, Columns columns, float inverse_total, AffineFit from,
                                     Lanes mean_w) {
  const Lanes id = inverse(from.d);
  Lanes sum_q{}, sum_qq{}, sum_qw{};
  for (uint32_t k = 0; k < n; ++k) {
    const Lanes q = round_even(clamp((w[k] - from.m) * id, all(0.0f), all(15.0f)));
    const Lanes counted = columns.times(q, k);
    sum_q += counted;
    sum_qq += counted * q;
    sum_qw += counted * (w[k] - mean_w);
  }
  const Lanes mean_q = sum_q * inverse_total;
  const Lanes spread = sum_qq - sum_q * mean_q;
  const Lanes d = sum_qw * inverse(spread);
  const IntLanes usable = (spread > all(0.0f)) & (d > all(0.0f));
  return {choose(usable, d, from.d), choose(usable, mean_w - d * mean_q, from.m)};
}

template <class Columns>
Q3E_INLINE Lanes affine_error(const Lanes* w, uint32_t n, Columns columns, AffineFit fit) {
  const Lanes id = inverse(fit.d);
  Lanes error{};
  for (uint32_t k = 0; k < n; ++k) {
    const Lanes q = round_even(clamp((w[k] - fit.m) * id, all(0.0f), all(15.0f)));
    const Lanes e = w[k] - (fit.d * q + fit.m);
    error += columns.times(e * e, k);
  }
  return error;
}

template <class Columns>
static inline void pack_q4a(const Lanes* w, uint32_t n, Columns columns, uint8_t* scale, uint8_t* minimum, uint8_t* quants) {
  const auto [low, high] = range_of(w, n);
  Lanes sum{};
  for (uint32_t k = 0; k < n; ++k) sum += columns.times(w[k], k);
  const float inverse_total = 1.0f / columns.total(n);
  const Lanes mean_w = sum * inverse_total;
  const Lanes range = (high - low) * (1.0f / 15.0f), middle = (high + low) * 0.5f;
  AffineFit best{Lanes{}, mean_w};
  Lanes best_error = all(3.0e38f);
  for (const float share : kRangeShares)
    for (const float shift : kRangeShifts) {
      const Lanes d = range * share;
      AffineFit fit = refit_affine(w, n, columns, inverse_total, {d, middle - d * (7.0f + shift)}, mean_w);
      fit = {through_f16(fit.d), through_f16(fit.m)};
      const Lanes error = affine_error(w, n, columns, fit);
      const IntLanes better = error < best_error;
      best_error = choose(better, error, best_error);
      best.d = choose(better, fit.d, best.d);
      best.m = choose(better, fit.m, best.m);
    }
  const Lanes id = inverse(best.d);
  IntLanes q[kMostColumns];
  for (uint32_t k = 0; k < n; ++k) q[k] = to_int(round_even(clamp((w[k] - best.m) * id, all(0.0f), all(15.0f))));
  store_f16(best.d, scale);
  store_f16(best.m, minimum);
  store_q4(q, n, quants);
}

}  // namespace
}  // namespace q3e
