#include "text/byte_alphabet.h"

#include <array>

namespace q3e {
namespace {

constexpr uint32_t kFirstShifted = 256;  // bytes that do not print stand here, in their order
constexpr uint32_t kEnd = 256 + 68;

constexpr bool prints(uint32_t byte) {
  return (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || (byte >= 174 && byte <= 255);
}

struct Alphabet {
  std::array<uint16_t, 256> code{};  // of each byte
  std::array<int16_t, kEnd> byte{};  // of each code point, -1 outside the alphabet

  constexpr Alphabet() {
    for (auto& b : byte) b = -1;
    uint32_t shifted = kFirstShifted;
    for (uint32_t b = 0; b < 256; ++b) {
      const uint32_t at = prints(b) ? b : shifted++;
      code[b] = static_cast<uint16_t>(at);
      byte[at] = static_cast<int16_t>(b);
    }
  }
};
constexpr Alphabet kAlphabet;

}  // namespace

std::string byte_character(uint8_t byte) {
  const uint32_t code = kAlphabet.code[byte];
  if (code < 0x80) return {static_cast<char>(code)};
  return {static_cast<char>(0xc0 | code >> 6), static_cast<char>(0x80 | (code & 0x3f))};
}

bool append_token_bytes(std::string_view token, std::string& out) {
  const size_t before = out.size();
  for (size_t i = 0; i < token.size(); ++i) {
    uint32_t code = static_cast<uint8_t>(token[i]);
    if (code >= 0x80) {  // the alphabet ends below U+0800: two bytes
      const bool two = (code & 0xe0) == 0xc0 && i + 1 < token.size();
      code = two ? (code & 0x1f) << 6 | (static_cast<uint8_t>(token[i + 1]) & 0x3f) : kEnd;
      ++i;
    }
    if (code >= kEnd || kAlphabet.byte[code] < 0) {
      out.resize(before);
      return false;
    }
    out += static_cast<char>(kAlphabet.byte[code]);
  }
  return true;
}

}  // namespace q3e
