#include "text/utf8.h"

#include <cstring>

#include "text/utf8_assembler.h"

namespace q3e {
namespace {

constexpr uint64_t kHighBits = 0x8080808080808080u;

bool is_ascii8(const char* at) {
  uint64_t word;
  std::memcpy(&word, at, sizeof(word));
  return (word & kHighBits) == 0;
}

// Of the character that begins here; 0: none does. left: bytes, at least one, the first of which is not ASCII.
size_t whole_char(const char* at, size_t left) {
  const auto byte = [at](size_t i) { return static_cast<uint8_t>(at[i]); };
  const size_t nbytes = byte(0) < 0xc2 ? 0 : byte(0) < 0xe0 ? 2 : byte(0) < 0xf0 ? 3 : byte(0) < 0xf5 ? 4 : 0;
  if (nbytes == 0 || nbytes > left) return 0;
  // The second byte's bounds leave out what has a shorter form, surrogates, and what is above U+10FFFF.
  const uint8_t low = byte(0) == 0xe0 ? 0xa0 : byte(0) == 0xf0 ? 0x90 : 0x80;
  const uint8_t high = byte(0) == 0xed ? 0x9f : byte(0) == 0xf4 ? 0x8f : 0xbf;
  if (byte(1) < low || byte(1) > high) return 0;
  for (size_t i = 2; i < nbytes; ++i)
    if (!is_utf8_tail(at[i])) return 0;
  return nbytes;
}

}  // namespace

char* put_utf8(uint32_t code, char* out) {
  if (code < 0x80) {
    *out++ = static_cast<char>(code);
    return out;
  }
  if (code < 0x800) {
    *out++ = static_cast<char>(0xc0 | code >> 6);
  } else {
    if (code < 0x10000) {
      *out++ = static_cast<char>(0xe0 | code >> 12);
    } else {
      *out++ = static_cast<char>(0xf0 | code >> 18);
      *out++ = static_cast<char>(0x80 | (code >> 12 & 0x3f));
    }
    *out++ = static_cast<char>(0x80 | (code >> 6 & 0x3f));
  }
  *out++ = static_cast<char>(0x80 | (code & 0x3f));
  return out;
}

void append_utf8(uint32_t code, std::string& out) {
  char bytes[4];
  out.append(bytes, put_utf8(code, bytes));
}

size_t utf8_prefix(std::string_view bytes) {
  const char* const data = bytes.data();
  size_t at = 0;
  while (at < bytes.size()) {
    if (static_cast<uint8_t>(data[at]) < 0x80) {
      while (at + 8 <= bytes.size() && is_ascii8(data + at)) at += 8;
      while (at < bytes.size() && static_cast<uint8_t>(data[at]) < 0x80) ++at;
      continue;
    }
    const size_t nbytes = whole_char(data + at, bytes.size() - at);
    if (nbytes == 0) break;
    at += nbytes;
  }
  return at;
}

size_t utf8_length(std::string_view text) {
  size_t count = 0;
  for (const char byte : text) count += !is_utf8_tail(byte);
  return count;
}

void append_clean_utf8(std::string_view bytes, std::string& out) {
  const size_t whole = utf8_prefix(bytes);
  out += bytes.substr(0, whole);
  if (whole == bytes.size()) return;
  Utf8Assembler assembler;
  assembler.push(bytes.substr(whole), out);
  assembler.finish(out);
}

}  // namespace q3e
