// Whole characters out of bytes that arrive cut anywhere.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace q3e {

// What comes out in all is the UTF-8 of the bytes that went in, with one U+FFFD for each longest part that is no character but
// may begin one: as Unicode recommends, and as Python's `bytes.decode("utf-8", "replace")`.
class Utf8Assembler {
 public:
  // Appends the characters that these bytes complete.
  void push(std::string_view bytes, std::string& out);

  // Appends U+FFFD for a character that was never completed; another text may follow.
  void finish(std::string& out);

 private:
  void begin(uint8_t byte, std::string& out);

  char held_[3] = {};  // [count_]: the beginning of a character
  uint8_t count_ = 0;
  uint8_t missing_ = 0;               // bytes that it still needs
  uint8_t low_ = 0x80, high_ = 0xbf;  // what the next of them may be
};

}  // namespace q3e
