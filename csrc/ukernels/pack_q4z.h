// The quantizer of q4z: w = d * (s * q + z). See pack_impl.h.
#pragma once

#include "ukernels/pack_groups.h"

namespace q3e {
namespace {

// All search lists were chosen by error and time on normal and heavy-tailed weights; trying everything (ten times the time) gains
// 0.6 % more.
template <uint32_t group>
struct GroupQ4z {
  static constexpr uint32_t kGroup = group;
  static constexpr float kSizes[] = {127.0f, 123.0f, 119.0f, 115.0f, 111.0f, 107.0f}, kEmpty = 0.0f;
  static constexpr bool kSigned = false;
  // Candidates for s: the group's range over 15, rounded up, less these.
  static constexpr float kStepsDown[] = {-1.0f, 0.0f, 1.0f};
  // Candidates for z: levels centred on the group's range, then moved by these parts of s.
  static constexpr float kPhases[] = {0.0f, 0.17f, -0.17f, 0.33f, -0.33f, 0.5f};
  // Neighbours of the best fit that are tried at the end.
  static constexpr float kOffsetSteps[] = {2.0f, 1.0f};

  Q3E_INLINE Lanes level(Lanes v) { return v; }
  Q3E_INLINE Lanes weight(Lanes v) { return v; }
  Q3E_INLINE Lanes offset(Lanes, Lanes z) { return z; }
  // The q that keep s * q + z at most 127. z is an int8, so q = 0 always fits.
  Q3E_INLINE Lanes top(Lanes s, Lanes z) {
    // floor((127 - z) / s), exactly: the quotient of small integers is at least 1/16 away from the next integer unless it is one.
    const Lanes quotient = (127.0f - z) / s;
    return least(round_even(quotient - 0.46875f), all(15.0f));
  }
  Q3E_INLINE Lanes as_step(Lanes s) { return clamp(s, all(1.0f), all(16.0f)); }
  Q3E_INLINE Lanes as_offset(Lanes z) { return clamp(round_even(z), all(-128.0f), all(127.0f)); }

  template <class Columns>
  static inline GroupFit search(const Lanes* u, Columns columns) {
    const auto [low, high] = range_of(u, kGroup);
    const Lanes middle = (low + high) * 0.5f;
    const Lanes widest = round_even((high - low) * (1.0f / 15.0f) + 0.5f);
    GroupFit best{all(1.0f), all(0.0f), all(3.0e38f)};
    for (const float down : kStepsDown) {
      const Lanes s = as_step(widest - down);
      for (const float phase : kPhases) try_fit<GroupQ4z>(u, columns, s, as_offset(middle - s * (7.5f + phase)), best);
    }
    return best;
  }

  template <class Columns>
  static inline void polish(const Lanes* u, Columns columns, GroupFit& best) {
    for (const float step : kOffsetSteps) {
      const Lanes s = best.s, z = best.x;
      try_fit<GroupQ4z>(u, columns, s, as_offset(z + step), best);
      try_fit<GroupQ4z>(u, columns, s, as_offset(z - step), best);
    }
    for (const float step : kScaleSteps) {
      const Lanes s = as_step(best.s + step);
      const Lanes z = best.x + (best.s - s) * 7.5f;
      for (const float part : {0.0f, 0.25f, -0.25f}) try_fit<GroupQ4z>(u, columns, s, as_offset(z + s * part), best);
    }
  }
};

template <uint32_t kGroup, class Columns>
static inline void pack_q4z(const Lanes* w, uint32_t n, Columns columns, uint8_t* scale, uint8_t* sub_scale, uint8_t* sub_offset,
                            uint8_t* quants) {
  constexpr uint32_t kQuads = kSuperBlock / kGroup / 4;
  WordLanes s_words{}, z_words[kQuads]{};
  pack_groups<GroupQ4z<kGroup>>(w, n, columns, scale, [&](uint32_t g, Lanes s, Lanes z, const IntLanes* q) {
    store_q4(q, kGroup, quants + size_t{g} * kGroup * 8);
    s_words |= (WordLanes)(to_int(s) - 1) << (4 * g);
    z_words[g / 4] |= ((WordLanes)to_int(z) & 255u) << (8 * (g % 4));
  });
  if (kGroup == 32) {
    store_words(s_words, sub_scale);
  } else {
    for (uint32_t r = 0; r < kLanes; ++r) {
      const uint16_t word = static_cast<uint16_t>(s_words[r]);
      std::memcpy(sub_scale + 2 * r, &word, 2);
    }
  }
  for (uint32_t i = 0; i < kQuads; ++i) store_words(z_words[i], sub_offset + size_t{i} * 64);
}

}  // namespace
}  // namespace q3e
