// What all quantizers are made of: rows as the lanes of a vector, loading their weights, storing their codes. See pack_impl.h.
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

// Neighbours of the best integer scale that are tried at the end of a search.
constexpr float kScaleSteps[] = {1.0f, -1.0f};

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

// How much the squared error in each column of a block counts. Template parameters, so that equal columns cost nothing.
struct EqualColumns {
  EqualColumns from(uint32_t) const { return {}; }  // that of the columns from k on
  static Lanes times(Lanes x, uint32_t) { return x; }
  static float total(uint32_t n) { return static_cast<float>(n); }
};
struct WeightedColumns {
  const float* weights;  // [n]
  WeightedColumns from(uint32_t k) const { return {weights + k}; }
  Lanes times(Lanes x, uint32_t k) const { return x * weights[k]; }
  float total(uint32_t n) const {
    float sum = 0;
    for (uint32_t k = 0; k < n; ++k) sum += weights[k];
    return sum;
  }
};

Q3E_INLINE Lanes largest_magnitude(const Lanes* w, uint32_t n) {
  Lanes m{};
  for (uint32_t k = 0; k < n; ++k) m = most(m, magnitude(w[k]));
  return m;
}

// The first of equals, with its sign. amax: largest_magnitude.
Q3E_INLINE Lanes largest_weight(const Lanes* w, uint32_t n, Lanes amax) {
  Lanes top{};
  for (uint32_t k = n; k-- > 0;) top = choose(magnitude(w[k]) == amax, w[k], top);
  return top;
}
struct Range {
  Lanes low, high;
};
Q3E_INLINE Range range_of(const Lanes* w, uint32_t n) {
  Range r{w[0], w[0]};
  for (uint32_t k = 1; k < n; ++k) {
    r.low = least(r.low, w[k]);
    r.high = most(r.high, w[k]);
  }
  return r;
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

}  // namespace
}  // namespace q3e
