// The bytes of a syntax tree, one after the other.
#pragma once

#include <cstdint>
#include <cstring>
#include <span>
#include <string>

#include "base/error.h"

namespace q3e::chat {

[[noreturn]] inline void damaged(const std::string& text) { throw Error(Status::bad_file, "the chat template's tree: " + text); }

// Every function throws Error(bad_file) where they end too early.
class TreeBytes {
 public:
  explicit TreeBytes(std::span<const uint8_t> bytes) : left_(bytes) {}

  uint32_t fixed() {
    if (left_.size() < 4) damaged("it is cut off");
    uint32_t value = 0;
    std::memcpy(&value, left_.data(), 4);
    left_ = left_.subspan(4);
    return value;
  }
  uint64_t number() {
    uint64_t value = 0;
    for (int shift = 0; shift < 63; shift += 7) {
      const uint8_t next = byte();
      value |= static_cast<uint64_t>(next & 0x7fu) << shift;
      if (next < 0x80) return value;
    }
    damaged("a number is too long");
  }
  std::string bytes_with_size() {
    const uint64_t size = number();
    if (size > left_.size()) damaged("a string is cut off");
    std::string text(reinterpret_cast<const char*>(left_.data()), size);
    left_ = left_.subspan(size);
    return text;
  }
  void require_end() const {
    if (!left_.empty()) damaged("expected its end, found " + std::to_string(left_.size()) + " more bytes");
  }

  uint8_t byte() {
    if (left_.empty()) damaged("it is cut off");
    const uint8_t value = left_.front();
    left_ = left_.subspan(1);
    return value;
  }

  uint64_t count_of_items() {
    const uint64_t count = number();
    if (count > left_.size()) damaged("expected at most " + std::to_string(left_.size()) + " items, found more");
    return count;
  }

 private:
  std::span<const uint8_t> left_;
};

}  // namespace q3e::chat
