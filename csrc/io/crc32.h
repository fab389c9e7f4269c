// CRC-32 as in zlib (polynomial 0xEDB88320, reflected).
#pragma once

#include <cstddef>
#include <cstdint>

namespace q3e {

// Continues from `value`; crc32(b, crc32(a)) is the checksum of a followed by b, and 0 starts.
uint32_t crc32(const void* data, size_t nbytes, uint32_t value = 0);

}  // namespace q3e
