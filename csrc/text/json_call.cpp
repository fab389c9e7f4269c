#include "text/json_call.h"

#include <string_view>

namespace q3e {

bool JsonCall::push(char c, ToolCall& call) {
  const bool outer = scanner_.depth() == 1, in_key = outer && scanner_.in_key(), before_value = outer && scanner_.before_value();
  if (!scanner_.push(c)) return call.fail("expected JSON");
  if (whole()) {
    if (!named_) return call.fail("expected a name");
    if (!has_arguments_) call.arguments = "{}";
    has_arguments_ = true;
    return true;
  }
  if (scanner_.depth() == 1 && scanner_.in_key()) {
    if (!in_key) text_.clear();
    text_ += c;
    return true;
  }
  if (in_key) {
    text_ += c;
    return read_key(call);
  }
  const bool is_blank = std::string_view(" \t\r\n").find(c) != std::string_view::npos;
  if (before_value && !is_blank && !begin_value(c, call)) return false;
  if (value_ == Field::other) return true;
  (streams_ ? call.arguments : text_) += c;
  return scanner_.depth() > 1 || !scanner_.after_value() || end_value(call);
}

bool JsonCall::read_key(ToolCall& call) {
  const std::string key = json_text(text_);
  key_ = key == "name" ? Field::name : key == "arguments" ? Field::arguments : Field::other;
  if ((key_ == Field::name && named_) || (key_ == Field::arguments && has_arguments_))
    return call.fail("expected name and arguments once");
  return true;
}

bool JsonCall::begin_value(char c, ToolCall& call) {
  value_ = key_;
  text_.clear();
  streams_ = value_ == Field::arguments && c == '{';
  if (value_ == Field::name && c != '"') return call.fail("expected a name in a string");
  if (value_ == Field::arguments && c != '{' && c != '"' && c != 'n') return call.fail("expected arguments in an object");
  return true;
}

bool JsonCall::end_value(ToolCall& call) {
  if (value_ == Field::name) {
    call.name = json_text(text_);
    named_ = true;
    if (call.name.empty()) return call.fail("expected a name of at least one character");
  } else {
    has_arguments_ = true;
    if (!streams_) {
      const std::string said = text_ == "null" ? text_ : json_text(text_);
      const bool blank = said.find_first_not_of(" \t\r\n") == said.npos, none = blank || json_kind(said) == JsonKind::null;
      if (!none && json_kind(said) != JsonKind::object) return call.fail("expected an object in the string of arguments");
      call.arguments = none ? "{}" : said;
    }
  }
  value_ = Field::other;
  return true;
}

}  // namespace q3e
