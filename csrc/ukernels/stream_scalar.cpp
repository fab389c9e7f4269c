#include "ukernels/kernel_tiers.h"

namespace q3e {

int32_t stream_scalar(const uint8_t* data, size_t bytes, size_t ahead) {
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

}  // namespace q3e
