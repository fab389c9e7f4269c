#include "probes/limits.h"

#include "base/tiers.h"

namespace q3e {
namespace {

int32_t stream(const uint8_t* data, size_t bytes, size_t ahead) {
  uint64_t sums[8] = {};
  for (size_t i = 0; i < bytes; i += 64) {
    uint64_t words[8];
    if (ahead) __builtin_prefetch(data + i + ahead);
    __builtin_memcpy(words, data + i, 64);
    for (int j = 0; j < 8; ++j) sums[j] += words[j];
  }
  uint64_t total = 0;
  for (uint64_t s : sums) total += s;
  return static_cast<int32_t>(total);
}

int64_t dot_chain(int64_t rounds, int32_t* result) {
  volatile int8_t seed = 3;
  int32_t acc[4] = {0, 1, 2, 3};
  const int8_t a = seed;
  for (int64_t i = 0; i < rounds; ++i)
    for (int c = 0; c < 4; ++c) acc[c] += static_cast<int8_t>(acc[c]) * a;
  *result = acc[0] + acc[1] + acc[2] + acc[3];
  return rounds * 4 * 2;
}

constexpr Limits limits_scalar = {stream, dot_chain};

}  // namespace

const Limits& limits(Isa isa) {
  switch (isa) {
#define TIER(name) \
  case Isa::name:  \
    return limits_##name;
    Q3E_TIERS(TIER)
#undef TIER
    default:
      return limits_scalar;
  }
}

}  // namespace q3e
