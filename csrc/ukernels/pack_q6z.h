// The quantizer of q6z: w = d * (s * q + (4 - s) * c - 128). See pack_impl.h.
#pragma once

#include "ukernels/pack_groups.h"

namespace q3e {
namespace {

struct GroupQ6z {
  static constexpr uint32_t kGroup = 32;
  static constexpr float kSizes[] = {128.0f, 124.0f, 119.0f, 114.0f, 108.0f, 102.0f}, kEmpty = 32.0f;
  static constexpr bool kSigned = true;
  // Candidates for s: the group's range over 63, rounded up, less these. Trying every s and three c each for 18 sizes (eight
  // times the fits) makes the rms error 2.5 % smaller.
  static constexpr float kStepsDown[] = {0.0f, 1.0f};

  Q3E_INLINE Lanes level(Lanes v) { return v + 128.0f; }
  Q3E_INLINE Lanes weight(Lanes v) { return v - 128.0f; }
  Q3E_INLINE Lanes offset(Lanes s, Lanes c) { return (4.0f - s) * c; }
  Q3E_INLINE Lanes top(Lanes, Lanes) { return all(63.0f); }
  Q3E_INLINE Lanes as_step(Lanes s) { return clamp(s, all(1.0f), all(4.0f)); }
  Q3E_INLINE Lanes as_centre(Lanes c) { return clamp(c, all(0.0f), all(63.0f)); }
  // The c that brings the middle of the levels nearest to `middle`; with s = 4 any c means the same.
  Q3E_INLINE Lanes centre(Lanes s, Lanes middle) { return as_centre(round_even((middle - s * 31.5f) * inverse(4.0f - s))); }

  template <class Columns>
  static inline GroupFit search(const Lanes* u, Columns columns) {
    const auto [low, high] = range_of(u, kGroup);
    const Lanes middle = (low + high) * 0.5f;
    const Lanes widest = as_step(round_even((high - low) * (1.0f / 63.0f) + 0.5f));
    GroupFit best{all(1.0f), all(kEmpty), all(3.0e38f)};
    for (const float down : kStepsDown) {
      const Lanes s = as_step(widest - down);
      try_fit<GroupQ6z>(u, columns, s, centre(s, middle), best);
    }
    return best;
  }

  // With the neighbours of c.
  template <class Columns>
  static inline void try_neighbours(const Lanes* u, Columns columns, Lanes s, Lanes c, GroupFit& best) {
    try_fit<GroupQ6z>(u, columns, s, as_centre(c + 1.0f), best);
    try_fit<GroupQ6z>(u, columns, s, as_centre(c - 1.0f), best);
  }

  template <class Columns>
  static inline void polish(const Lanes* u, Columns columns, GroupFit& best) {
    for (int round = 0; round < 2; ++round) try_neighbours(u, columns, best.s, best.x, best);
    const Lanes middle = offset(best.s, best.x) + best.s * 31.5f, before = best.s;
    for (const float step : kScaleSteps) {
      const Lanes s = as_step(before + step), c = centre(s, middle);
      try_fit<GroupQ6z>(u, columns, s, c, best);
      try_neighbours(u, columns, s, c, best);
    }
  }
};

template <class Columns>
static inline void pack_q6z(const Lanes* w, uint32_t n, Columns columns, uint8_t* scale, uint8_t* sub_scale, uint8_t* quants) {
  constexpr uint32_t kQuads = kSuperBlock / GroupQ6z::kGroup / 4;
  WordLanes words[kQuads]{};
  pack_groups<GroupQ6z>(w, n, columns, scale, [&](uint32_t g, Lanes s, Lanes c, const IntLanes* q) {
    store_q6(q, GroupQ6z::kGroup, quants + size_t{g} * GroupQ6z::kGroup * 12);
    words[g / 4] |= (WordLanes)(to_int(s) - 1 + 4 * to_int(c)) << (8 * (g % 4));
  });
  for (uint32_t i = 0; i < kQuads; ++i) store_words(words[i], sub_scale + size_t{i} * 64);
}

}  // namespace
}  // namespace q3e
