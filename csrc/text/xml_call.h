// A tool call as `<function=NAME> <parameter=KEY> VALUE </parameter> ... </function>`: Qwen3-Coder's and Qwen3.5's form.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "text/json_scanner.h"
#include "text/tool_call.h"

namespace q3e {

// Values become JSON by the types that the tool's schema declares: without one, and where a value is no JSON of such a type, it
// is a string. The line break behind `>` and the one before `</parameter>` are no part of it. A value may hold any text, so its
// end is where `</parameter>` is followed by what can follow it, but not within a string of JSON where JSON is declared.
class XmlCall {
 public:
  // tools: outlives it.
  explicit XmlCall(const Tools& tools) : tools_(tools) {}

  // Whether it can go on with this character.
  bool push(char c, ToolCall& call);

  bool quoted() const { return state_ == State::value; }
  bool whole() const { return state_ == State::whole; }

 private:
  enum class State : uint8_t { begin, name, between, key, value, whole };

  bool push_tag(char c, ToolCall& call);
  bool push_name(char c, ToolCall& call);
  bool begin_value(ToolCall& call);
  void push_value(char c, ToolCall& call);
  void add_to_value(std::string_view text, ToolCall& call);
  void end_value(ToolCall& call);
  bool within_string(std::string_view end) const;

  const Tools& tools_;
  const ToolParameters* declared_ = nullptr;  // of this tool
  State state_ = State::begin;
  std::string text_;  // of a tag, a name or a value
  std::string held_;  // of a value, that may be its end
  std::vector<std::string> keys_;
  JsonScanner json_;       // of a value that cannot be a string
  uint8_t kinds_ = 0;      // declared of this parameter
  bool is_json_ = false;   // the value so far
  bool at_begin_ = false;  // of a value
};

}  // namespace q3e
