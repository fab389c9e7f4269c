#include "prompt/messages.h"

#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "base/error.h"
#include "template/json_text.h"
#include "template/json_value.h"
#include "template/written.h"

namespace q3e::chat {
namespace {

constexpr size_t kShown = 60;  // bytes of a value in a message
constexpr std::array<std::string_view, 5> kRoles = {"system", "developer", "user", "assistant", "tool"};
// Names of an assistant's thoughts, the first that is there counts: Qwen's, gpt-oss', vLLM's and OpenRouter's.
constexpr std::array<const char*, 3> kReasoning = {"reasoning_content", "thinking", "reasoning"};

[[noreturn]] void refuse(const std::string& text) { throw Error(Status::bad_argument, text); }

bool empty(const Value& value) {
  return (value.is(Kind::text) && value.str().empty()) || (value.is(Kind::list) && value.list().items.empty()) ||
         (value.is(Kind::dict) && value.dict().items().empty());
}

bool given(const Value* value) { return value && !value->is(Kind::none); }
bool is_true(const Value* value) { return given(value) && !empty(*value) && !(value->is(Kind::boolean) && !value->boolean()); }

std::string kind_of(const Value* value) {
  if (!given(value)) return "none";
  return empty(*value) ? "an empty one" : type_name(*value);
}

std::string shown(const Value& value) {
  std::string text = represented(value);
  if (text.size() > kShown) {
    size_t end = kShown;
    while (end > 0 && (static_cast<uint8_t>(text[end]) & 0xc0) == 0x80) --end;
    text.resize(end);
  }
  return text;
}

// A dict in the making.
class Fields {
 public:
  void set(const char* name, Value value) { items_.emplace_back(Value::text(name), std::move(value)); }
  Value done() { return {Kind::dict, std::make_shared<Dict>(std::move(items_))}; }

 private:
  std::vector<Dict::Item> items_;
};

std::string content_of(const Value* content, const std::string& where, TextGuard& guard, bool own) {
  const auto guarded = [&](std::string_view text) { return own ? guard.answer(text) : guard.text(text); };
  if (content && content->is(Kind::text)) return guarded(content->str());
  if (!content || !content->is(Kind::list))
    refuse("expected " + where + ".content as a string or a list of text parts, found " + kind_of(content));
  std::string text;
  size_t index = 0;
  for (const Value& part : content->list().items) {
    const Value* kind = part.is(Kind::dict) ? part.dict().find("type") : nullptr;
    const Value* said = part.is(Kind::dict) ? part.dict().find("text") : nullptr;
    if (!kind || !kind->is(Kind::text) || kind->str() != "text" || !said || !said->is(Kind::text))
      refuse("expected " + where + ".content[" + std::to_string(index) + "] as a part of type 'text', found " +
             (given(kind) ? shown(*kind) : kind_of(&part)));
    text += guarded(said->str());
    ++index;
  }
  return text;
}

// A call's arguments: an object for templates that take it apart, and its JSON text for those that join it.
Value arguments_of(const Value* given_arguments, const std::string& where, TextGuard& guard) {
  const Value* arguments = given_arguments;
  Value parsed;
  std::optional<std::string> text;
  if (given(arguments) && arguments->is(Kind::text)) {
    const std::string json = arguments->str().empty() ? "{}" : arguments->str();
    text = guard.text(json);  // before it is parsed: the guard bounds its size
    parsed = parsed_json(json, where + ".arguments");
    arguments = &parsed;
    if (parsed.is(Kind::none)) text.reset();
  }
  if (given(arguments) && !arguments->is(Kind::dict))
    refuse("expected " + where + ".arguments as a JSON object, found " + kind_of(arguments));
  std::vector<Dict::Item> none;
  const Value values =
      given(arguments) ? guarded_json(*arguments, guard) : Value(Kind::dict, std::make_shared<Dict>(std::move(none)));
  if (!text) text = json_text(values, {});
  std::vector<Dict::Item> items = values.dict().items();
  return {Kind::dict, std::make_shared<Dict>(std::move(items), Value::text(std::move(*text)))};
}

Value tool_call(const Value& call, const std::string& where, TextGuard& guard) {
  const Value* function = call.is(Kind::dict) ? call.dict().find("function") : nullptr;
  if (!function) function = &call;
  const Value* name = function->is(Kind::dict) ? function->dict().find("name") : nullptr;
  if (!name || !name->is(Kind::text)) refuse("expected " + where + " as an object with the function's name and arguments");
  guard.item();
  Value arguments = arguments_of(function->dict().find("arguments"), where, guard);
  Fields named, result;
  named.set("name", Value::text(guard.text(name->str())));
  named.set("arguments", std::move(arguments));
  result.set("type", Value::text("function"));
  if (const Value* id = call.dict().find("id"); id && id->is(Kind::text)) result.set("id", Value::text(guard.text(id->str())));
  result.set("function", named.done());
  return result.done();
}

Value normal_message(const Value& message, const std::string& where, TextGuard& guard, std::string_view developer) {
  if (!message.is(Kind::dict)) refuse("expected " + where + " as an object with role and content, found " + kind_of(&message));
  const Dict& fields = message.dict();
  guard.item();
  const Value* role = fields.find("role");
  const auto known = role && role->is(Kind::text) ? std::find(kRoles.begin(), kRoles.end(), role->str()) : kRoles.end();
  if (known == kRoles.end())
    refuse("expected " + where + ".role to be one of system, developer, user, assistant, tool, found " +
           (role ? shown(*role) : "None"));
  const bool own = *known == "assistant";
  Fields result;
  result.set("role", Value::text(std::string(*known == "developer" ? developer : *known)));
  const Value* calls = fields.find("tool_calls");
  const char* thoughts = nullptr;
  for (const char* name : kReasoning)
    if (!thoughts && given(fields.find(name))) thoughts = name;
  const Value* content = fields.find("content");
  const Value nothing = Value::text("");
  if (!given(content) && own && (is_true(calls) || (thoughts && is_true(fields.find(thoughts))))) content = &nothing;
  result.set("content", Value::text(content_of(content, where, guard, own)));
  Value thinking;
  const std::pair<const char*, const char*> others[] = {
      {"reasoning_content", thoughts}, {"name", "name"}, {"tool_call_id", "tool_call_id"}};
  for (const auto& [key, name] : others) {
    const Value* value = name ? fields.find(name) : nullptr;
    if (!given(value)) continue;
    if (!value->is(Kind::text)) refuse("expected " + where + "." + name + " as a string, found " + kind_of(value));
    Value text = Value::text(guard.text(value->str()));
    if (name == thoughts) thinking = text;
    result.set(key, std::move(text));
  }
  if (!thinking.is(Kind::absent)) result.set("thinking", std::move(thinking));
  if (is_true(calls)) {
    if (!own || !calls->is(Kind::list)) refuse("expected " + where + ".tool_calls as a list in an assistant's message");
    std::vector<Value> all;
    for (const Value& call : calls->list().items)
      all.push_back(tool_call(call, where + ".tool_calls[" + std::to_string(all.size()) + "]", guard));
    result.set("tool_calls", Value::list(std::move(all)));
  }
  return result.done();
}

}  // namespace

Value normal_messages(const std::vector<Value>& messages, TextGuard& guard, std::string_view developer) {
  if (messages.empty()) refuse("expected messages as a list of at least one, found an empty one");
  std::vector<Value> all;
  for (const Value& message : messages)
    all.push_back(normal_message(message, "messages[" + std::to_string(all.size()) + "]", guard, developer));
  return Value::list(std::move(all));
}

Value normal_tools(const Value& tools, TextGuard& guard) {
  if (tools.is(Kind::none) || tools.is(Kind::absent)) return Value::none();
  if (!tools.is(Kind::list)) refuse("expected tools as a list, found " + kind_of(&tools));
  if (tools.list().items.empty()) return Value::none();
  size_t index = 0;
  for (const Value& tool : tools.list().items) {
    if (!tool.is(Kind::dict))
      refuse("expected tools[" + std::to_string(index) + "] as an object with a function's schema, found " + kind_of(&tool));
    ++index;
  }
  return guarded_json(tools, guard);
}

Value guarded_json(const Value& value, TextGuard& guard) {
  guard.item();
  if (value.is(Kind::text)) return Value::text(guard.text(value.str()));
  if (value.is(Kind::dict)) {
    std::vector<Dict::Item> items;
    for (const auto& [key, item] : value.dict().items()) {
      Value name = Value::text(guard.text(key.str()));
      items.emplace_back(std::move(name), guarded_json(item, guard));
    }
    return {Kind::dict, std::make_shared<Dict>(std::move(items))};
  }
  if (!value.is(Kind::list)) return value;
  std::vector<Value> items;
  for (const Value& item : value.list().items) items.push_back(guarded_json(item, guard));
  return Value::list(std::move(items));
}

}  // namespace q3e::chat
