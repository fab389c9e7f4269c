#include "ukernels/kernel_tiers.h"

namespace q3e {

int64_t dot_chain_scalar(int64_t rounds, int32_t* result) {
  volatile int8_t seed = 3;
  int32_t acc[4] = {0, 1, 2, 3};
  const int8_t a = seed;
  for (int64_t i = 0; i < rounds; ++i)
    for (int c = 0; c < 4; ++c) acc[c] += static_cast<int8_t>(acc[c]) * a;
  *result = acc[0] + acc[1] + acc[2] + acc[3];
  return rounds * 4 * 2;
}

}  // namespace q3e
