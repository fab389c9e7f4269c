#include "text/xml_call.h"

#include <algorithm>
#include <optional>
#include <utility>

namespace q3e {
namespace {

constexpr std::string_view kFunction = "<function=", kFunctionEnd = "</function>",
                           kParameter = "<parameter=", kParameterEnd = "</parameter>", kBlanks = " \t\r\n";
constexpr size_t kMostBlanks = 256;  // behind `</parameter>`, so that not too much is held back
constexpr uint8_t kString = static_cast<uint8_t>(JsonKind::string);

bool is_blank(char c) { return kBlanks.find(c) != kBlanks.npos; }

// What the end of a value turned out to be so far.
enum class Match : uint8_t { no, maybe, next_parameter, function_end };

// held: a line break, or none; `</parameter>`; blanks; what comes then.
Match match_end(std::string_view held) {
  if (held.starts_with('\n')) held.remove_prefix(1);
  const std::string_view end = held.substr(0, kParameterEnd.size());
  if (!kParameterEnd.starts_with(end)) return Match::no;
  held.remove_prefix(end.size());
  const size_t blanks = std::min(held.find_first_not_of(kBlanks), held.size());
  if (blanks > kMostBlanks) return Match::no;
  held.remove_prefix(blanks);
  if (held == kParameter) return Match::next_parameter;
  if (held == kFunctionEnd) return Match::function_end;
  return kParameter.starts_with(held) || kFunctionEnd.starts_with(held) ? Match::maybe : Match::no;
}

// The JSON of a value that may be something else than a string; empty: it is none of these kinds. `True`, `False` and `None` are
// what older templates of Qwen3-Coder show a model in its own earlier calls.
std::string json_of(std::string_view value, uint8_t kinds) {
  value.remove_prefix(std::min(value.find_first_not_of(kBlanks), value.size()));
  value = value.substr(0, value.find_last_not_of(kBlanks) + 1);
  const std::string_view literal = value == "True" ? "true" : value == "False" ? "false" : value == "None" ? "null" : value;
  const std::optional<JsonKind> kind = json_kind(literal);
  // Where a string would do, only `null` is something else.
  const uint8_t others = kinds & kString ? kinds & static_cast<uint8_t>(JsonKind::null) : kinds;
  return kind && (others & static_cast<uint8_t>(*kind)) ? std::string(literal) : std::string();
}

}  // namespace

bool XmlCall::push(char c, ToolCall& call) {
  switch (state_) {
    case State::begin:
    case State::between:
      return push_tag(c, call);
    case State::name:
    case State::key:
      return push_name(c, call);
    case State::value:
      push_value(c, call);
      return true;
    default:
      return is_blank(c) || call.fail("expected nothing behind </function>");
  }
}

bool XmlCall::push_tag(char c, ToolCall& call) {
  if (text_.empty() && is_blank(c)) return true;
  text_ += c;
  if (state_ == State::begin) {
    if (!kFunction.starts_with(text_)) return call.fail("expected <function=");
    if (text_.size() < kFunction.size()) return true;
    state_ = State::name;
  } else if (text_ == kParameter) {
    state_ = State::key;
  } else if (text_ == kFunctionEnd) {
    call.arguments += '}';
    state_ = State::whole;
  } else {
    return kParameter.starts_with(text_) || kFunctionEnd.starts_with(text_) || call.fail("expected <parameter= or </function>");
  }
  text_.clear();
  return true;
}

bool XmlCall::push_name(char c, ToolCall& call) {
  if (c != '>') {
    text_ += c;
    return (c != '\n' && c != '<') || call.fail("expected a name and >");
  }
  if (text_.empty()) return call.fail("expected a name of at least one character");
  if (state_ == State::key) return begin_value(call);
  const auto tool = tools_.find(text_);
  declared_ = tool == tools_.end() ? nullptr : &tool->second;
  call.name = std::move(text_);
  call.arguments = "{";
  text_.clear();
  state_ = State::between;
  return true;
}

bool XmlCall::begin_value(ToolCall& call) {
  if (std::find(keys_.begin(), keys_.end(), text_) != keys_.end()) return call.fail("expected each parameter once");
  call.arguments += keys_.empty() ? "\"" : ", \"";
  append_escaped(text_, call.arguments);
  call.arguments += "\": ";
  kinds_ = 0;
  if (declared_)
    if (const auto parameter = declared_->find(text_); parameter != declared_->end()) kinds_ = parameter->second;
  if (kinds_ == 0) kinds_ = kString;
  if (kinds_ == kString) call.arguments += '"';
  is_json_ = !(kinds_ & kString);
  json_ = {};
  keys_.push_back(std::move(text_));
  text_.clear();
  at_begin_ = true;
  state_ = State::value;
  return true;
}

void XmlCall::push_value(char c, ToolCall& call) {
  if (std::exchange(at_begin_, false) && c == '\n') return;
  held_ += c;
  Match match = match_end(held_);
  while (match == Match::no) {  // what was held is text, up to where its end may begin
    const size_t next = std::min(held_.find_first_of("\n<", 1), held_.size());
    add_to_value(std::string_view(held_).substr(0, next), call);
    held_.erase(0, next);
    match = held_.empty() ? Match::maybe : match_end(held_);
  }
  if (match == Match::maybe) return;
  if (within_string(held_)) return add_to_value(std::exchange(held_, {}), call);
  held_.clear();
  end_value(call);
  state_ = State::key;
  if (match == Match::next_parameter) return;
  call.arguments += '}';
  state_ = State::whole;
}

void XmlCall::add_to_value(std::string_view text, ToolCall& call) {
  if (kinds_ == kString)
    append_escaped(text, call.arguments);
  else
    text_ += text;
  for (size_t i = 0; is_json_ && i < text.size(); ++i) is_json_ = json_.push(text[i]);
}

// Whether what looks like the end of a value is text in a JSON string, which has no line breaks.
bool XmlCall::within_string(std::string_view end) const {
  return is_json_ && json_.in_string() && end.find_first_of("\r\n\t") == end.npos;
}

void XmlCall::end_value(ToolCall& call) {
  if (kinds_ == kString) {
    call.arguments += '"';
    return;
  }
  std::string json = json_of(text_, kinds_);
  if (json.empty()) {
    append_escaped(text_, json);
    json = '"' + json + '"';
  }
  call.arguments += json;
  text_.clear();
}

}  // namespace q3e
