#include "template/characters.h"

#include <algorithm>

namespace q3e::chat {
namespace {

uint8_t byte_at(std::string_view text, size_t at) { return static_cast<uint8_t>(text[at]); }
bool is_tail(std::string_view text, size_t at) { return at < text.size() && (byte_at(text, at) & 0xc0u) == 0x80u; }

template <class Drop>
std::string_view stripped_of(std::string_view text, Side side, const Drop& drops) {
  if (static_cast<int>(side) & static_cast<int>(Side::left)) {
    size_t at = 0;
    while (at < text.size()) {
      size_t next = at;
      if (!drops(read_character(text, next))) break;
      at = next;
    }
    text.remove_prefix(at);
  }
  if (static_cast<int>(side) & static_cast<int>(Side::right)) {
    while (!text.empty()) {
      size_t begin = text.size() - 1;
      while (begin > 0 && is_tail(text, begin)) --begin;
      size_t next = begin;
      if (!drops(read_character(text, next))) break;
      text = text.substr(0, begin);
    }
  }
  return text;
}

}  // namespace

bool is_text(std::string_view bytes) {
  for (size_t at = 0; at < bytes.size();) {
    const uint8_t first = byte_at(bytes, at);
    const size_t length = first < 0x80 ? 1 : first >= 0xc2 && first <= 0xdf ? 2 : (first & 0xf0u) == 0xe0u ? 3 : 4;
    if (length == 4 && (first < 0xf0 || first > 0xf4)) return false;
    for (size_t i = 1; i < length; ++i)
      if (!is_tail(bytes, at + i)) return false;
    if (first == 0xe0 && byte_at(bytes, at + 1) < 0xa0) return false;
    if (first == 0xf0 && byte_at(bytes, at + 1) < 0x90) return false;
    if (first == 0xf4 && byte_at(bytes, at + 1) > 0x8f) return false;
    at += length;
  }
  return true;
}

size_t count_characters(std::string_view text) {
  size_t count = 0;
  for (const char c : text) count += (static_cast<uint8_t>(c) & 0xc0u) != 0x80u;
  return count;
}

size_t offset_of(std::string_view text, size_t character) {
  for (size_t at = 0; at < text.size(); ++at)
    if (!is_tail(text, at) && character-- == 0) return at;
  return text.size();
}

uint32_t read_character(std::string_view text, size_t& at) {
  const uint8_t first = byte_at(text, at++);
  uint32_t character = first < 0xc0 ? first : first < 0xe0 ? first & 0x1fu : first < 0xf0 ? first & 0x0fu : first & 0x07u;
  if (first >= 0x80)
    while (is_tail(text, at)) character = character << 6 | (byte_at(text, at++) & 0x3fu);
  return character;
}

void append_character(uint32_t character, std::string& out) {
  const auto tail = [&](int shift) { out.push_back(static_cast<char>(0x80 | (character >> shift & 0x3f))); };
  if (character < 0x80) {
    out.push_back(static_cast<char>(character));
  } else if (character < 0x800) {
    out.push_back(static_cast<char>(0xc0 | character >> 6));
    tail(0);
  } else if (character < 0x10000) {
    out.push_back(static_cast<char>(0xe0 | character >> 12));
    tail(6), tail(0);
  } else {
    out.push_back(static_cast<char>(0xf0 | character >> 18));
    tail(12), tail(6), tail(0);
  }
}

bool is_surrogate(uint32_t character) { return character >= 0xd800 && character <= 0xdfff; }

bool is_space(uint32_t c) {
  return (c >= 9 && c <= 13) || (c >= 28 && c <= 32) || c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) ||
         c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

bool is_line_break(uint32_t c) { return (c >= 10 && c <= 13) || (c >= 28 && c <= 30) || c == 0x85 || c == 0x2028 || c == 0x2029; }

bool is_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<uint8_t>(c) < 0x80; });
}

std::string_view stripped(std::string_view text, Side side) { return stripped_of(text, side, is_space); }

std::string_view stripped(std::string_view text, Side side, std::string_view characters) {
  return stripped_of(text, side, [&](uint32_t found) {
    for (size_t at = 0; at < characters.size();)
      if (read_character(characters, at) == found) return true;
    return false;
  });
}

}  // namespace q3e::chat
