// A tool call as it is read, and the tools that may be called.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>

namespace q3e {

// What a tool's schema declares of its parameters: JsonKind's bits, 0: nothing.
using ToolParameters = std::unordered_map<std::string, uint8_t>;
using Tools = std::unordered_map<std::string, ToolParameters>;

struct ToolCall {
  std::string name;          // empty: not known yet
  std::string arguments;     // JSON, as far as it has come and was not taken
  std::string_view problem;  // why it is no call after all

  // Of what cannot be a call.
  bool fail(std::string_view why) {
    problem = why;
    return false;
  }
};

}  // namespace q3e
