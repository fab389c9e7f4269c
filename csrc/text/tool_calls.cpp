#include "text/tool_calls.h"

#include <utility>

namespace q3e {
namespace {

bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

}  // namespace

ToolCalls::ToolCalls(std::shared_ptr<const Tools> tools, bool closes_by_text)
    : tools_(std::move(tools)), closes_by_text_(closes_by_text) {}

void ToolCalls::begin() {
  state_ = State::open;
  format_.emplace<std::monostate>();
  call_ = {};
  text_ = kOpen;
  tag_.clear();
  announced_ = false;
}

size_t ToolCalls::push(std::string_view text, std::vector<TextPiece>& out) {
  size_t used = 0;
  while (used < text.size() && open()) {
    if (!take(text[used])) {
      give(out);
      end(out);
      return used;
    }
    text_ += text[used++];
    if (tag_ == kClose) break;
  }
  give(out);
  if (tag_ == kClose) end(out);
  return used;
}

void ToolCalls::end(std::vector<TextPiece>& out) {
  if (whole() && call_.problem.empty()) {
    state_ = State::complete;
    ++count_;
    out.push_back({{}, false, CallEvent::complete});
    return;
  }
  state_ = State::broken;
  if (call_.problem.empty()) call_.problem = "expected the rest of the call";
  out.push_back({std::string(call_.problem), false, CallEvent::broken});
}

bool ToolCalls::take(char c) {
  if (closes_by_text_ && whole() && (c == '<' || !tag_.empty())) {
    tag_ += c;
    return kClose.starts_with(tag_) || call_.fail("expected </tool_call>");
  }
  if (format_.index() == 0) {
    if (is_blank(c)) return true;
    if (c == '{')
      format_.emplace<JsonCall>();
    else if (c == '<')
      format_.emplace<XmlCall>(*tools_);
    else
      return call_.fail("expected { or <function= behind <tool_call>");
  }
  if (auto* json = std::get_if<JsonCall>(&format_)) return json->push(c, call_);
  return std::get<XmlCall>(format_).push(c, call_);
}

bool ToolCalls::quoted() const {
  if (const auto* json = std::get_if<JsonCall>(&format_)) return json->quoted();
  const auto* xml = std::get_if<XmlCall>(&format_);
  return xml && xml->quoted();
}

bool ToolCalls::whole() const {
  if (const auto* json = std::get_if<JsonCall>(&format_)) return json->whole();
  const auto* xml = std::get_if<XmlCall>(&format_);
  return xml && xml->whole();
}

void ToolCalls::give(std::vector<TextPiece>& out) {
  if (call_.name.empty()) return;
  if (!std::exchange(announced_, true)) out.push_back({call_.name, false, CallEvent::begun});
  if (call_.arguments.empty()) return;
  out.push_back({std::move(call_.arguments), false, CallEvent::arguments});
  call_.arguments.clear();
}

}  // namespace q3e
