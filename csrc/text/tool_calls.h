// The tool calls of an answer, read while they come.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "text/json_call.h"
#include "text/text_piece.h"
#include "text/tool_call.h"
#include "text/xml_call.h"

namespace q3e {

// Gets what stands behind a `<tool_call>`, for as long as a call is open. Its form follows from its first character and not from
// the model's chat template, which cannot tell: it may be another's, or none at all, and tuned models keep to the form that they
// were tuned on. What is no call after all is given back as it came.
class ToolCalls {
 public:
  // closes_by_text: the vocabulary has no token `</tool_call>`.
  ToolCalls(std::shared_ptr<const Tools> tools, bool closes_by_text);

  static constexpr std::string_view kOpen = "<tool_call>", kClose = "</tool_call>";

  // Behind `<tool_call>`.
  void begin();
  // Reads on, and appends what it found; returns how many characters belonged to the call. It ended if that are fewer, or if its
  // closing tag was among them.
  size_t push(std::string_view text, std::vector<TextPiece>& out);
  // At a token that no call goes on with, or at the end of the answer.
  void end(std::vector<TextPiece>& out);

  bool open() const { return state_ == State::open; }
  bool complete() const { return state_ == State::complete; }  // of one that ended
  bool quoted() const;                                         // within a string, where tags are text
  bool bare() const { return format_.index() == 0; }           // nothing but blanks behind the tag
  const std::string& text() const { return text_; }            // of the call so far, with its tag
  uint32_t count() const { return count_; }                    // that are complete

 private:
  enum class State : uint8_t { none, open, complete, broken };

  bool take(char c);
  bool whole() const;
  void give(std::vector<TextPiece>& out);

  std::shared_ptr<const Tools> tools_;
  bool closes_by_text_;
  State state_ = State::none;
  std::variant<std::monostate, JsonCall, XmlCall> format_;
  ToolCall call_;
  std::string text_, tag_;  // tag_: what has come of a closing tag in text
  bool announced_ = false;
  uint32_t count_ = 0;
};

}  // namespace q3e
