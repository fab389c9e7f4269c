#include "text/utf8_assembler.h"

namespace q3e {
namespace {

constexpr std::string_view kReplacement = "\xef\xbf\xbd";  // U+FFFD
constexpr uint8_t kFirstTail = 0x80, kLastTail = 0xbf;     // of the bytes after a character's first

}  // namespace

void Utf8Assembler::push(std::string_view bytes, std::string& out) {
  for (const char c : bytes) {
    const auto byte = static_cast<uint8_t>(c);
    if (count_ > 0) {
      if (byte >= low_ && byte <= high_) {
        low_ = kFirstTail, high_ = kLastTail;
        if (--missing_ > 0) {
          held_[count_++] = c;
        } else {
          out.append(held_, count_).push_back(c);
          count_ = 0;
        }
        continue;
      }
      finish(out);  // the byte is no part of it
    }
    begin(byte, out);
  }
}

void Utf8Assembler::finish(std::string& out) {
  if (count_ > 0) out += kReplacement;
  count_ = 0;
}

// The second byte's bounds leave out what has a shorter form, surrogates, and what is above U+10FFFF.
void Utf8Assembler::begin(uint8_t byte, std::string& out) {
  if (byte < 0x80) {
    out.push_back(static_cast<char>(byte));
    return;
  }
  if (byte < 0xc2 || byte > 0xf4) {  // begins no character
    out += kReplacement;
    return;
  }
  held_[0] = static_cast<char>(byte);
  count_ = 1;
  missing_ = byte < 0xe0 ? 1 : byte < 0xf0 ? 2 : 3;
  low_ = byte == 0xe0 ? 0xa0 : byte == 0xf0 ? 0x90 : kFirstTail;
  high_ = byte == 0xed ? 0x9f : byte == 0xf4 ? 0x8f : kLastTail;
}

}  // namespace q3e
