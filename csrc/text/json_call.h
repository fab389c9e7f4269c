// A tool call as one JSON object, `{"name": ..., "arguments": {...}}`: Hermes' form, Qwen2.5's and Qwen3's.
#pragma once

#include <cstdint>
#include <string>

#include "text/json_scanner.h"
#include "text/tool_call.h"

namespace q3e {

// The two keys may come in any order, others are passed over. Arguments that are absent, `null`, an empty string or `{}` are
// none; those in a string are what it says. Arguments come out as they were written, so that a prompt can repeat them exactly.
class JsonCall {
 public:
  // Whether it can go on with this character; the first one is `{`.
  bool push(char c, ToolCall& call);

  bool quoted() const { return scanner_.in_string(); }
  bool whole() const { return scanner_.done(); }

 private:
  enum class Field : uint8_t { other, name, arguments };

  bool read_key(ToolCall& call);
  bool begin_value(char c, ToolCall& call);
  bool end_value(ToolCall& call);

  JsonScanner scanner_;
  Field key_ = Field::other, value_ = Field::other;  // of the outer object: the last key, the value that is being read
  std::string text_;                                 // of that key or value
  bool streams_ = false;                             // the value goes straight to the arguments
  bool named_ = false, has_arguments_ = false;
};

}  // namespace q3e
