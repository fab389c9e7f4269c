// What a tier could do at most: the rooflines that kernels are held against.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/cpu_features.h"

namespace q3e {

// Reads memory and adds it up. bytes: a multiple of 256. ahead: bytes that are asked for in advance, or 0 to leave that to the
// hardware.
using StreamFn = int32_t(const uint8_t* data, size_t bytes, size_t ahead);
// Nothing but dot products of int8 on registers. Returns the operations done, two for a multiply-add.
using DotChainFn = int64_t(int64_t rounds, int32_t* result);

struct Limits {
  StreamFn* stream;
  DotChainFn* dot_chain;
};

extern const Limits limits_avx2, limits_avxvnni, limits_avx512, limits_amx, limits_neon, limits_dotprod, limits_i8mm, limits_rvv;

// The tier must be supported by this machine.
const Limits& limits(Isa isa);

}  // namespace q3e
