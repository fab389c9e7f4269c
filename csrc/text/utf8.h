// Characters as UTF-8 holds them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace q3e {

struct Utf8Char {
  uint32_t code;
  uint32_t nbytes;
};

// The character that begins here. at: UTF-8, whole characters.
inline Utf8Char utf8_char(const char* at) {
  const auto byte = [at](int i) { return static_cast<uint8_t>(at[i]); };
  const auto tail = [&](int i) { return byte(i) & 0x3fu; };
  if (byte(0) < 0x80) return {byte(0), 1};
  if (byte(0) < 0xe0) return {(byte(0) & 0x1fu) << 6 | tail(1), 2};
  if (byte(0) < 0xf0) return {(byte(0) & 0x0fu) << 12 | tail(1) << 6 | tail(2), 3};
  return {(byte(0) & 0x07u) << 18 | tail(1) << 12 | tail(2) << 6 | tail(3), 4};
}

// Whether a byte is not the first of its character.
inline bool is_utf8_tail(char byte) { return (static_cast<uint8_t>(byte) & 0xc0) == 0x80; }

// Writes the bytes of a code point, surrogates too, and returns where they end.
char* put_utf8(uint32_t code, char* out);

void append_utf8(uint32_t code, std::string& out);

// How many bytes at the beginning are whole characters of UTF-8.
size_t utf8_prefix(std::string_view bytes);

size_t utf8_length(std::string_view text);  // characters of UTF-8

// Appends the bytes as UTF-8, with U+FFFD for what is none (Utf8Assembler says for how much).
void append_clean_utf8(std::string_view bytes, std::string& out);

}  // namespace q3e
