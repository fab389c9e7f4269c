#include "io/crc32.h"

#include <array>
#include <bit>
#include <cstring>

namespace q3e {
namespace {

static_assert(std::endian::native == std::endian::little, "the slices below read little-endian words");

constexpr int kSlices = 16;  // bytes in one step; 16 reads more than 3 GB/s a core without special instructions
using Tables = std::array<std::array<uint32_t, 256>, kSlices>;

// tables[n][b]: the checksum of byte b followed by n zero bytes.
constexpr Tables make_tables() {
  Tables t{};
  for (uint32_t b = 0; b < 256; ++b) {
    uint32_t c = b;
    for (int bit = 0; bit < 8; ++bit) c = (c >> 1) ^ (c & 1u ? 0xEDB88320u : 0u);
    t[0][b] = c;
  }
  for (uint32_t b = 0; b < 256; ++b)
    for (int n = 1; n < kSlices; ++n) t[n][b] = (t[n - 1][b] >> 8) ^ t[0][t[n - 1][b] & 0xffu];
  return t;
}
constexpr Tables kTables = make_tables();

inline uint32_t four_bytes(uint32_t word, int last) {
  return kTables[last + 3][word & 0xffu] ^ kTables[last + 2][(word >> 8) & 0xffu] ^ kTables[last + 1][(word >> 16) & 0xffu] ^
         kTables[last][word >> 24];
}

}  // namespace

uint32_t crc32(const void* data, size_t nbytes, uint32_t value) {
  const auto* p = static_cast<const uint8_t*>(data);
  uint32_t c = ~value;
  for (; nbytes >= kSlices; nbytes -= kSlices, p += kSlices) {
    uint32_t w[4];
    std::memcpy(w, p, sizeof w);
    c = four_bytes(w[0] ^ c, 12) ^ four_bytes(w[1], 8) ^ four_bytes(w[2], 4) ^ four_bytes(w[3], 0);
  }
  for (; nbytes > 0; --nbytes, ++p) c = (c >> 8) ^ kTables[0][(c ^ *p) & 0xffu];
  return ~c;
}

}  // namespace q3e
