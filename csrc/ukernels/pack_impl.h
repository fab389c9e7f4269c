// The quantizers, once for every ISA: each pack_<isa>.cpp includes this file and is compiled with its own flags. Everything here
// has internal linkage. Rows are the lanes of a vector, so a row's arithmetic does not depend on the vector's width; with
// contraction off and every sum in ascending k, all ISAs write the same bytes. qwen3edge/formats/blocks.py is the same algorithm
// in NumPy, compared by ==.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "base/half.h"
#include "ukernels/pack.h"

namespace q3e {
namespace {

// Rows that go through together: one register of the ISA. A panel takes 16 / kLanes passes.
#if defined(__AVX512F__)
constexpr uint32_t kLanes = 16;
#elif defined(__AVX2__)
constexpr uint32_t kLanes = 8;
#else
constexpr uint32_t kLanes = 4;
#endif

typedef float Lanes __attribute__((vector_size(4 * kLanes)));       // a float for each row
typedef int32_t IntLanes __attribute__((vector_size(4 * kLanes)));  // masks, too: 0 or -1
typedef uint32_t WordLanes __attribute__((vector_size(4 * kLanes)));

#define Q3E_INLINE static inline __attribute__((always_inline))

constexpr float kRounder = 12582912.0f;  // 1.5 * 2^23: adding and subtracting it rounds |x| < 2^22 to nearest even

Q3E_INLINE Lanes all(float v) { return Lanes{} + v; }
Q3E_INLINE Lanes round_even(Lanes x) { return (x + kRounder) - kRounder; }
Q3E_INLINE Lanes least(Lanes a, Lanes b) { return a < b ? a : b; }
Q3E_INLINE Lanes most(Lanes a, Lanes b) { return a > b ? a : b; }
Q3E_INLINE Lanes clamp(Lanes x, Lanes low, Lanes high) { return least(most(x, low), high); }
Q3E_INLINE IntLanes to_int(Lanes x) { return __builtin_convertvector(x, IntLanes); }
Q3E_INLINE Lanes to_float(IntLanes x) { return __builtin_convertvector(x, Lanes); }
Q3E_INLINE Lanes magnitude(Lanes x) { return (Lanes)((IntLanes)x & 0x7fffffff); }
Q3E_INLINE Lanes choose(IntLanes mask, Lanes yes, Lanes no) { return mask ? yes : no; }
// 1 / x, and 0 for 0.
Q3E_INLINE Lanes inverse(Lanes x) { return choose(x == all(0.0f), all(0.0f), 1.0f / choose(x == all(0.0f), all(1.0f), x)); }

// Rounded to float16 and back. Few a block, so lane by lane.
static inline Lanes through_f16(Lanes x) {
  for (uint32_t r = 0; r < kLanes; ++r) x[r] = f32_from_f16(f16_from_f32(x[r]));
  return x;
}
static inline void store_f16(Lanes x, uint8_t* out) {
  uint16_t h[kLanes];
  for (uint32_t r = 0; r < kLanes; ++r) h[r] = f16_from_f32(x[r]);
  std::memcpy(out, h, sizeof h);
}
Q3E_INLINE void store_words(WordLanes x, uint8_t* out) { std::memcpy(out, &x, sizeof x); }

constexpr uint32_t kMostColumns = kSuperBlock;  // of a block; unquantized rows go through in blocks of this size, too

// ---- The block's weights, columns by lanes ----

// Rows [first_row, first_row + kLanes) of a panel, of which the source has row_count in all.
struct Rows {
  SourceType type;
  const void* data;  // [row_count][stride]
  uint32_t row_count;
  size_t stride;
  uint32_t first_row;
};

// w[k][r] = column first + k of row first_row + r, zero past the last row. False when a magnitude is above `limit` or not finite.
static inline bool load_block(const Rows& rows, size_t first, uint32_t n, float limit, Lanes* w) {
  float* out = reinterpret_cast<float*>(w);  // [n][kLanes]
  for (uint32_t r = 0; r < kLanes; ++r) {
    const uint32_t row = rows.first_row + r;
    const size_t at = row * rows.stride + first;
    if (row >= rows.row_count) {
      for (uint32_t k = 0; k < n; ++k) out[k * kLanes + r] = 0;
    } else if (rows.type == SourceType::f32) {
      const float* p = static_cast<const float*>(rows.data) + at;
      for (uint32_t k = 0; k < n; ++k) out[k * kLanes + r] = p[k];
    } else if (rows.type == SourceType::bf16) {
      const uint16_t* p = static_cast<const uint16_t*>(rows.data) + at;
      for (uint32_t k = 0; k < n; ++k) out[k * kLanes + r] = f32_from_bf16(p[k]);
    } else {
      const uint16_t* p = static_cast<const uint16_t*>(rows.data) + at;
      for (uint32_t k = 0; k < n; ++k) out[k * kLanes + r] = f32_from_f16(p[k]);
    }
  }
  // Magnitudes compare as their bits do, and NaN and infinity lie above every limit.
  IntLanes largest{};
  for (uint32_t k = 0; k < n; ++k) {
    const IntLanes m = (IntLanes)w[k] & 0x7fffffff;
    largest = m > largest ? m : largest;
  }
  int32_t limit_bits;
  std::memcpy(&limit_bits, &limit, sizeof limit);
  for (uint32_t r = 0; r < kLanes; ++r)
    if (largest[r] > limit_bits) return false;
  return true;
}

Q3E_INLINE Lanes largest_magnitude(const Lanes* w, uint32_t n) {
  Lanes m{};
  for (uint32_t k = 0; k < n; ++k) m = most(m, magnitude(w[k]));
  return m;
}

// ---- Storing codes ----

// q: int32 lanes [n], values 0..15, n a multiple of 8, into q4 [n / 8][16][4].
Q3E_INLINE void store_q4(const IntLanes* q, uint32_t n, uint8_t* out) {
  for (uint32_t o = 0; o < n / 8; ++o, q += 8) {
    WordLanes word{};
    for (int j = 0; j < 4; ++j) word |= (WordLanes)(q[j] | (q[j + 4] << 4)) << (8 * j);
    store_words(word, out + size_t{o} * 64);
  }
}

// q: int32 lanes [n], values 0..63, n a multiple of 16, into q6 [n / 16][3][16][4].
Q3E_INLINE void store_q6(const IntLanes* q, uint32_t n, uint8_t* out) {
  for (uint32_t i = 0; i < n / 16; ++i, q += 16)
    for (int quad = 0; quad < 3; ++quad) {
      WordLanes word{};
      for (int j = 0; j < 4; ++j) word |= (WordLanes)(q[4 * quad + j] | ((q[12 + j] >> (2 * quad)) & 3) << 6) << (8 * j);
      store_words(word, out + (size_t{i} * 3 + quad) * 64);
    }
}

// w8: int32 lanes [n], values in int8, n a multiple of 4, into w8 [n / 4][16][4].
Q3E_INLINE void store_w8(const IntLanes* w8, uint32_t n, uint8_t* out) {
  for (uint32_t quad = 0; quad < n / 4; ++quad, w8 += 4) {
    WordLanes word{};
    for (int j = 0; j < 4; ++j) word |= ((WordLanes)w8[j] & 255u) << (8 * j);
    store_words(word, out + size_t{quad} * 64);
  }
}

// ---- q8: d = max / 127 ----

static inline void pack_q8(const Lanes* w, uint32_t n, uint8_t* scale, uint8_t* quants) {
  const Lanes d = through_f16(largest_magnitude(w, n) / 127.0f);
  const Lanes id = inverse(d);
  IntLanes w8[kMostColumns];
  // d was rounded, perhaps downwards: the largest weight may pass 127 by a little.
  for (uint32_t k = 0; k < n; ++k) w8[k] = to_int(clamp(round_even(w[k] * id), all(-127.0f), all(127.0f)));
  store_f16(d, scale);
  store_w8(w8, n, quants);
}

// ---- q4g: w = d * (q - 8) ----

// Each candidate puts the largest weight at level c: the scale is refitted by least squares, d = sum(w q) / sum(q q), and the one
// that explains most, sum(w q)^2 / sum(q q), wins. Both signs of c, as the levels reach -8 on one side and 7 on the other.
constexpr float kTopLevels[] = {5.0f,  5.25f, 5.5f,  5.75f, 6.0f,  6.25f, 6.5f,  6.75f, 7.0f,
                                7.25f, 7.5f,  7.75f, 8.0f,  8.25f, 8.5f,  8.75f, 9.0f};
constexpr float kSides[] = {-1.0f, 1.0f};

static inline void pack_q4g(const Lanes* w, uint32_t n, uint8_t* scale, uint8_t* quants) {
  const Lanes amax = largest_magnitude(w, n);
  const Lanes per_level = inverse(amax);
  Lanes top{};  // the weight of largest magnitude, with its sign; the first of equals
  for (uint32_t k = n; k-- > 0;) top = choose(magnitude(w[k]) == amax, w[k], top);
  const Lanes sign = choose(top < all(0.0f), all(-1.0f), all(1.0f));
  const Lanes low = all(-8.0f), high = all(7.0f);
  Lanes d{}, best{};
  for (const float level : kTopLevels)
    for (const float side : kSides) {
      const Lanes id = per_level * (sign * (level * side));
      Lanes wq{}, qq{};
      for (uint32_t k = 0; k < n; ++k) {
        const Lanes q = clamp(round_even(w[k] * id), low, high);
        wq += w[k] * q;
        qq += q * q;
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
      wq += w[k] * q;
      qq += q * q;
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
static inline AffineFit refit_affine(const Lanes* w, uint32_t n, AffineFit from, Lanes mean_w) {
  const Lanes id = inverse(from.d);
  Lanes sum_q{}, sum_qq{}, sum_qw{};
  for (uint32_t k = 0; k < n; ++k) {
    const Lanes q = round_even(clamp((w[k] - from.m) * id, all(0.0f), all(15.0f)));
    sum_q += q;
    sum_qq += q * q;
    sum_qw += q * (w[k] - mean_w);
  }
  const Lanes mean_q = sum_q * (1.0f / static_cast<float>(n));
  const Lanes spread = sum_qq - sum_q * mean_q;
  const Lanes d = sum_qw * inverse(spread);
  const IntLanes usable = (spread > all(0.0f)) & (d > all(0.0f));
  return {choose(usable, d, from.d), choose(usable, mean_w - d * mean_q, from.m)};
}

Q3E_INLINE Lanes affine_error(const Lanes* w, uint32_t n, AffineFit fit) {
  const Lanes id = inverse(fit.d);
  Lanes error{};
  for (uint32_t k = 0; k < n; ++k) {
    const Lanes q = round_even(clamp((w[k] - fit.m) * id, all(0.0f), all(15.0f)));
    const Lanes e = w[k] - (fit.d * q + fit.m);
    error += e * e;
  }
  return error;
}

static inline void pack_q4a(const Lanes* w, uint32_t n, uint8_t* scale, uint8_t* minimum, uint8_t* quants) {
  Lanes low = w[0], high = w[0], sum{};
  for (uint32_t k = 0; k < n; ++k) {
    low = least(low, w[k]);
    high = most(high, w[k]);
    sum += w[k];
  }
  const Lanes mean_w = sum * (1.0f / static_cast<float>(n));
  const Lanes range = (high - low) * (1.0f / 15.0f), middle = (high + low) * 0.5f;
  AffineFit best{Lanes{}, mean_w};
  Lanes best_error = all(3.0e38f);
  for (const float share : kRangeShares)
    for (const float shift : kRangeShifts) {
      const Lanes d = range * share;
      AffineFit fit = refit_affine(w, n, {d, middle - d * (7.0f + shift)}, mean_w);
      fit = {through_f16(fit.d), through_f16(fit.m)};
      const Lanes error = affine_error(w, n, fit);
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

// ---- q4z: w = d * (s * q + z) ----

// Candidates for d: the block's largest magnitude over these. All search lists were chosen by error and time on normal and
// heavy-tailed weights; trying everything (ten times the time) gains 0.6 % more.
constexpr float kGridSizes[] = {127.0f, 123.0f, 119.0f, 115.0f, 111.0f, 107.0f};
// Candidates for s: the group's range over 15, rounded up, less these.
constexpr float kStepsDown[] = {-1.0f, 0.0f, 1.0f};
// Candidates for z: levels centred on the group's range, then moved by these parts of s.
constexpr float kPhases[] = {0.0f, 0.17f, -0.17f, 0.33f, -0.33f, 0.5f};
// Neighbours of the best fit that are tried at the end.
constexpr float kOffsetSteps[] = {2.0f, 1.0f};
constexpr float kScaleSteps[] = {1.0f, -1.0f};

struct GroupFit {
  Lanes s, z, error;  // error in units of d squared
};

// The q that keep s * q + z at most 127. z is an int8, so q = 0 always fits.
Q3E_INLINE Lanes highest_q(Lanes s, Lanes z) {
  // floor((127 - z) / s), exactly: the quotient of small integers is at least 1/16 away from the next integer unless it is one.
  const Lanes quotient = (127.0f - z) / s;
  return least(round_even(quotient - 0.46875f), all(15.0f));
}

// Sum of (u - (s q + z))^2 for the nearest q, u: Lanes [n].
Q3E_INLINE Lanes group_error(const Lanes* u, uint32_t n, Lanes s, Lanes is, Lanes z) {
  const Lanes top = highest_q(s, z), origin = z * is;
  Lanes error{};
  for (uint32_t k = 0; k < n; ++k) {
    const Lanes t = u[k] * is - origin;
    const Lanes e = t - round_even(clamp(t, all(0.0f), top));
    error += e * e;
  }
  return error * (s * s);
}

Q3E_INLINE void try_fit(const Lanes* u, uint32_t n, Lanes s, Lanes is, Lanes z, GroupFit& best) {
  const Lanes error = group_error(u, n, s, is, z);
  const IntLanes better = error < best.error;
  best.error = choose(better, error, best.error);
  best.s = choose(better, s, best.s);
  best.z = choose(better, z, best.z);
}

Q3E_INLINE Lanes as_offset(Lanes z) { return clamp(round_even(z), all(-128.0f), all(127.0f)); }

static inline GroupFit search_group(const Lanes* u, uint32_t n) {
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
    for (const float phase : kPhases) try_fit(u, n, s, is, as_offset(middle - s * (7.5f + phase)), best);
  }
  return best;
}

// Better z, and s, next to the best so far.
static inline void polish_group(const Lanes* u, uint32_t n, GroupFit& best) {
  for (const float step : kOffsetSteps) {
    const Lanes s = best.s, z = best.z, is = 1.0f / s;
    try_fit(u, n, s, is, as_offset(z + step), best);
    try_fit(u, n, s, is, as_offset(z - step), best);
  }
  for (const float step : kScaleSteps) {
    const Lanes s = clamp(best.s + step, all(1.0f), all(16.0f)), is = 1.0f / s;
    const Lanes z = best.z + (best.s - s) * 7.5f;
    try_fit(u, n, s, is, as_offset(z), best);
    try_fit(u, n, s, is, as_offset(z + s * 0.25f), best);
    try_fit(u, n, s, is, as_offset(z - s * 0.25f), best);
  }
}

template <uint32_t kGroup>
static inline void pack_q4z(const Lanes* w, uint32_t n, uint8_t* scale, uint8_t* sub_scale, uint8_t* sub_offset,
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
      found[g] = search_group(u, kGroup);
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
    polish_group(u, kGroup, fits[g]);
    const Lanes s = fits[g].s, z = fits[g].z, is = 1.0f / s, top = highest_q(s, z);
    for (uint32_t k = 0; k < kGroup; ++k) {
      const Lanes code = s * round_even(clamp(u[k] * is - z * is, all(0.0f), top)) + z;
      wc += w[g * kGroup + k] * code;
      cc += code * code;
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

// ---- q6z: w = d * (s * q + (4 - s) * c - 128) ----

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
Q3E_INLINE void try_fit_q6(const Lanes* u, Lanes s, Lanes c, GroupFitQ6& best) {
  const Lanes is = 1.0f / s, origin = (4.0f - s) * c * is;
  Lanes error{};
  for (uint32_t k = 0; k < kGroupQ6; ++k) {
    const Lanes t = u[k] * is - origin;
    const Lanes e = t - round_even(clamp(t, all(0.0f), all(63.0f)));
    error += e * e;
  }
  error = error * (s * s);
  const IntLanes better = error < best.error;
  best.error = choose(better, error, best.error);
  best.s = choose(better, s, best.s);
  best.c = choose(better, c, best.c);
}

static inline GroupFitQ6 search_group_q6(const Lanes* u) {
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
    try_fit_q6(u, s, centre_q6(s, middle), best);
  }
  return best;
}

// Better c, and s, next to the best so far.
static inline void polish_group_q6(const Lanes* u, GroupFitQ6& best) {
  for (int round = 0; round < 2; ++round) {
    const Lanes s = best.s, c = best.c;
    try_fit_q6(u, s, as_centre_q6(c + 1.0f), best);
    try_fit_q6(u, s, as_centre_q6(c - 1.0f), best);
  }
  const Lanes middle = (4.0f - best.s) * best.c + best.s * 31.5f, before = best.s;
  for (const float step : kScaleSteps) {
    const Lanes s = as_step_q6(before + step), c = centre_q6(s, middle);
    try_fit_q6(u, s, c, best);
    try_fit_q6(u, s, as_centre_q6(c + 1.0f), best);
    try_fit_q6(u, s, as_centre_q6(c - 1.0f), best);
  }
}

static inline void pack_q6z(const Lanes* w, uint32_t n, uint8_t* scale, uint8_t* sub_scale, uint8_t* quants) {
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
      found[g] = search_group_q6(u);
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
    polish_group_q6(u, fits[g]);
    const Lanes s = fits[g].s, is = 1.0f / s, offset = (4.0f - s) * fits[g].c;
    for (uint32_t k = 0; k < kGroupQ6; ++k) {
      const Lanes code = s * round_even(clamp(u[k] * is - offset * is, all(0.0f), all(63.0f))) + offset - 128.0f;
      wc += w[g * kGroupQ6 + k] * code;
      cc += code * code;
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

// ---- A panel ----

// One block of kLanes rows. Planes are [..][16][bytes of a row]; `panel` is moved to the first row's place in each by `row`.
static inline void pack_block(const BlockFormat& f, const PanelLayout& at, const Lanes* w, uint32_t block, uint32_t k, uint32_t n,
                              uint32_t row, uint8_t* panel) {
  uint8_t* scale = panel + at.scale + size_t{block} * 32 + 2 * row;
  uint8_t* quants = panel + at.quants;
  switch (f.kind) {
    case FormatKind::vector:
      break;
    case FormatKind::f32:
      for (uint32_t i = 0; i < n; ++i) std::memcpy(quants + (size_t{k} + i) * 64 + 4 * row, &w[i], sizeof w[i]);
      break;
    case FormatKind::bf16:
      for (uint32_t i = 0; i < n; ++i) {
        uint16_t h[kLanes];
        for (uint32_t r = 0; r < kLanes; ++r) h[r] = bf16_from_f32(w[i][r]);
        std::memcpy(quants + (size_t{k} + i) * 32 + 2 * row, h, sizeof h);
      }
      break;
    case FormatKind::q8:
      pack_q8(w, n, scale, quants + size_t{k} * 16 + 4 * row);
      break;
    case FormatKind::q4g:
      pack_q4g(w, n, scale, quants + size_t{k} * 8 + 4 * row);
      break;
    case FormatKind::q4a:
      pack_q4a(w, n, scale, panel + at.minimum + size_t{block} * 32 + 2 * row, quants + size_t{k} * 8 + 4 * row);
      break;
    case FormatKind::q4z:
      if (f.group == 32)
        pack_q4z<32>(w, n, scale, panel + at.sub_scale + size_t{block} * 64 + 4 * row,
                     panel + at.sub_offset + size_t{block} * 128 + 4 * row, quants + size_t{k} * 8 + 4 * row);
      else
        pack_q4z<64>(w, n, scale, panel + at.sub_scale + size_t{block} * 32 + 2 * row,
                     panel + at.sub_offset + size_t{block} * 64 + 4 * row, quants + size_t{k} * 8 + 4 * row);
      break;
    case FormatKind::q6z:
      pack_q6z(w, n, scale, panel + at.sub_scale + size_t{block} * 128 + 4 * row, quants + size_t{k} * 12 + 4 * row);
      break;
  }
}

static inline bool pack_panel(const BlockFormat& f, SourceType type, const void* rows, uint32_t row_count, uint32_t columns,
                              uint8_t* panel) {
  const PanelLayout at = panel_layout(f, columns);
  const float limit = pack_limit(f.kind);
  const uint32_t step = f.block ? f.block : kMostColumns;
  std::memset(panel, 0, at.quants);
  Lanes w[kMostColumns];
  for (uint32_t k = 0, block = 0; k < columns; k += step, ++block) {
    const uint32_t n = columns - k < step ? columns - k : step;
    for (uint32_t row = 0; row < kPanelRows; row += kLanes) {
      if (!load_block({type, rows, row_count, columns, row}, k, n, limit, w)) return false;
      pack_block(f, at, w, block, k, n, row, panel);
    }
  }
  const size_t per_column = f.kind == FormatKind::f32    ? 64
                            : f.kind == FormatKind::bf16 ? 32
                            : f.kind == FormatKind::q8   ? 16
                            : f.kind == FormatKind::q6z  ? 12
                                                         : 8;
  const size_t end = at.quants + per_column * columns;
  std::memset(panel + end, 0, at.bytes - end);
  return true;
}

}  // namespace
}  // namespace q3e
