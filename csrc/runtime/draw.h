// Random numbers without a state: each is a hash of what it is drawn for.
#pragma once

#include <cstdint>

namespace q3e {

// Output number `n` of splitmix64 that starts at `state`: a counter, finalized (Steele, Lea and Flood, "Fast splittable
// pseudorandom number generators", OOPSLA 2014; the constants are Stafford's Mix13).
constexpr uint64_t splitmix64(uint64_t state, uint64_t n) {
  uint64_t z = state + (n + 1) * 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

// Of [0, 1), for token `index` (from 0) of answer `choice` (from 0) to a request with this seed. Seed and choice are hashed to
// where a stream starts: were they added, neighbouring seeds and choices would share numbers.
constexpr double draw(uint64_t seed, uint32_t choice, uint64_t index) {
  const uint64_t stream = splitmix64(splitmix64(seed, 0), choice);
  return static_cast<double>(splitmix64(stream, index) >> 11) * 0x1p-53;
}

}  // namespace q3e
