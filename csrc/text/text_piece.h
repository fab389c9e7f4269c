// What an answer's tokens become.
#pragma once

#include <cstdint>
#include <string>

namespace q3e {

enum class CallEvent : uint8_t {
  none,
  begun,      // text: the function's name
  arguments,  // text: the next part of their JSON
  complete,
  broken,  // text: why it is no call; its own text comes as content or thought. It may not have begun
};

// A stretch of an answer's text, never empty, UTF-8; or what happened to a tool call.
struct TextPiece {
  std::string text;
  bool reasoning = false;
  CallEvent call = CallEvent::none;
};

}  // namespace q3e
