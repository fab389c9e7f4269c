// Whether bytes are UTF-8 (RFC 3629: shortest forms, no surrogates, at most U+10FFFF).
#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>

namespace q3e {

inline bool is_utf8(std::string_view text) {
  const auto* p = reinterpret_cast<const uint8_t*>(text.data());
  const uint8_t* const end = p + text.size();
  const auto tail = [](uint8_t byte) { return (byte & 0xc0u) == 0x80u; };
  while (p < end) {
    if (end - p >= 8) {
      uint64_t word;
      std::memcpy(&word, p, sizeof word);
      if ((word & 0x8080808080808080u) == 0) {
        p += 8;
        continue;
      }
    }
    const uint8_t a = *p;
    if (a < 0x80) {
      p += 1;
    } else if (a >= 0xc2 && a <= 0xdf) {
      if (end - p < 2 || !tail(p[1])) return false;
      p += 2;
    } else if (a >= 0xe0 && a <= 0xef) {
      if (end - p < 3 || !tail(p[1]) || !tail(p[2])) return false;
      if ((a == 0xe0 && p[1] < 0xa0) || (a == 0xed && p[1] > 0x9f)) return false;
      p += 3;
    } else if (a >= 0xf0 && a <= 0xf4) {
      if (end - p < 4 || !tail(p[1]) || !tail(p[2]) || !tail(p[3])) return false;
      if ((a == 0xf0 && p[1] < 0x90) || (a == 0xf4 && p[1] > 0x8f)) return false;
      p += 4;
    } else {
      return false;
    }
  }
  return true;
}

}  // namespace q3e
