#include "text/hash.h"

#include <random>

namespace q3e {

uint64_t hash_seed() {
  static const uint64_t seed = [] {
    std::random_device source;
    return uint64_t{source()} << 32 | source();
  }();
  return seed;
}

}  // namespace q3e
