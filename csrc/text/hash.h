// Seeded hashes of the tables that a model file fills: whoever writes a file cannot choose what collides.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <string_view>

namespace q3e {

// A number that differs from process to process.
inline uint64_t hash_seed() {
  static const uint64_t seed = [] {
    std::random_device source;
    return uint64_t{source()} << 32 | source();
  }();
  return seed;
}

// The two halves of the 128-bit product, folded (as in wyhash): every bit of a and b reaches every bit of the result.
inline uint64_t fold(uint64_t a, uint64_t b) {
  const unsigned __int128 product = static_cast<unsigned __int128>(a) * b;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

inline constexpr uint64_t kHashOdd = 0x9e3779b97f4a7c15u;

inline uint64_t hash_pair(uint32_t left, uint32_t right, uint64_t seed) {
  return fold((uint64_t{left} << 32 | right) ^ seed, kHashOdd ^ (seed << 1 | 1));
}

inline uint64_t hash_text(std::string_view text, uint64_t seed) {
  const char* p = text.data();
  size_t n = text.size();
  const auto load = [](const char* at, size_t bytes) {
    uint64_t word = 0;
    std::memcpy(&word, at, bytes);
    return word;
  };
  uint64_t h = seed ^ (n * kHashOdd);
  for (; n > 16; p += 16, n -= 16) h = fold(load(p, 8) ^ h, load(p + 8, 8) ^ seed);
  uint64_t a = 0, b = 0;
  if (n >= 8) {
    a = load(p, 8);
    b = load(p + n - 8, 8);
  } else if (n >= 4) {
    a = load(p, 4);
    b = load(p + n - 4, 4);
  } else if (n > 0) {
    a = load(p, 1) | load(p + n / 2, 1) << 8 | load(p + n - 1, 1) << 16;
  }
  return fold(fold(a ^ h, b ^ seed ^ kHashOdd), kHashOdd);
}

}  // namespace q3e
