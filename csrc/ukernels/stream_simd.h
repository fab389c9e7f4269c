// Reads memory and adds it up: the limit that decode is held against. Not used by the engine.
#pragma once

#include <cstddef>
#include <cstdint>

namespace q3e {
namespace {

// bytes: a multiple of 256. ahead: bytes that are asked for in advance, or 0 to leave that to the hardware.
template <class S>
int32_t stream_simd(const uint8_t* data, size_t bytes, size_t ahead) {
  typename S::I sums[4] = {S::izero(), S::izero(), S::izero(), S::izero()};
  for (size_t i = 0; i < bytes; i += 256)
    for (size_t j = 0; j < 4; ++j) {
      if (ahead) S::prefetch(data + i + j * 64 + ahead);
      sums[j] = S::iadd(sums[j], S::load_i(reinterpret_cast<const int32_t*>(data + i + j * 64)));
    }
  return S::ifold(S::iadd(S::iadd(sums[0], sums[1]), S::iadd(sums[2], sums[3])));
}

}  // namespace
}  // namespace q3e
