#include "template/access.h"

#include <algorithm>
#include <array>
#include <span>
#include <string_view>

#include "template/characters.h"
#include "template/failure.h"
#include "template/iteration.h"
#include "template/loop.h"
#include "template/written.h"

namespace q3e::chat {
namespace {

using Names = std::span<const std::string_view>;

constexpr std::string_view kTextMethods[] = {
    "capitalize",   "casefold",   "center",    "count",       "encode",    "endswith",     "expandtabs",   "find",
    "format",       "format_map", "index",     "isalnum",     "isalpha",   "isascii",      "isdecimal",    "isdigit",
    "isidentifier", "islower",    "isnumeric", "isprintable", "isspace",   "istitle",      "isupper",      "join",
    "ljust",        "lower",      "lstrip",    "maketrans",   "partition", "removeprefix", "removesuffix", "replace",
    "rfind",        "rindex",     "rjust",     "rpartition",  "rsplit",    "rstrip",       "split",        "splitlines",
    "startswith",   "strip",      "swapcase",  "title",       "translate", "upper",        "zfill",
};
constexpr std::string_view kUnsafeTextMethods[] = {"encode", "format_map", "translate"};
constexpr std::string_view kDictMethods[] = {"clear", "copy",    "fromkeys",   "get",    "items", "keys",
                                             "pop",   "popitem", "setdefault", "update", "values"};
constexpr std::string_view kListMethods[] = {"append", "clear", "copy",   "count",   "extend", "index",
                                             "insert", "pop",   "remove", "reverse", "sort"};
constexpr std::string_view kTupleMethods[] = {"count", "index"};
constexpr std::string_view kChanging[] = {"append", "clear",   "extend",     "insert", "pop",   "popitem",
                                          "remove", "reverse", "setdefault", "sort",   "update"};
constexpr std::string_view kNumberAttributes[] = {"as_integer_ratio", "bit_count",  "bit_length", "conjugate", "denominator",
                                                  "fromhex",          "from_bytes", "hex",        "imag",      "is_integer",
                                                  "numerator",        "real",       "to_bytes"};

bool is_in(Names names, std::string_view name) { return std::find(names.begin(), names.end(), name) != names.end(); }

std::string full_type_name(const Value& value) {
  if (value.is(Kind::none)) return "None";
  const char* module = value.is(Kind::space)                                           ? "qwen3edge.templates.sandbox."
                       : value.is(Kind::dict) && !value.dict().text().is(Kind::absent) ? "qwen3edge.text.messages."
                       : value.is(Kind::loop)                                          ? "jinja2.runtime."
                                                                                       : "";
  return module + type_name(value) + " object";
}

Value no_attribute(const Value& value, const std::string& name) {
  return Value::undefined(represented(full_type_name(value)) + " has no attribute " + represented(name));
}

// What Python's getattr finds; absent if nothing.
Value python_attribute(const Value& value, const std::string& name) {
  Names methods, unsafe = kChanging;
  switch (value.kind()) {
    case Kind::text:
      methods = kTextMethods, unsafe = kUnsafeTextMethods;
      break;
    case Kind::dict:
      methods = kDictMethods;
      break;
    case Kind::list:
      if (value.list().form == List::Form::list) methods = kListMethods;
      if (value.list().form == List::Form::tuple) methods = kTupleMethods;
      break;
    case Kind::space: {
      const auto found = value.space().values.find(name);
      return found == value.space().values.end() ? Value() : found->second;
    }
    case Kind::loop:
      if (name == "cycle") break;
      return value.loop().attribute(name);
    case Kind::boolean:
    case Kind::integer:
    case Kind::large:
    case Kind::real:
      if (is_in(kNumberAttributes, name)) beyond("attributes of numbers");
      return Value();
    case Kind::macro:
    case Kind::function:
    case Kind::method:
      beyond("attributes of macros and functions");
    default:
      return Value();
  }
  if (!value.is(Kind::loop) && !is_in(methods, name)) return Value();
  if (!value.is(Kind::loop) && is_in(unsafe, name))
    return Value::undefined("access to attribute " + represented(name) + " of '" + type_name(value) + "' object is unsafe.",
                            true);
  return {Kind::method, std::make_shared<Method>(value, name)};
}

std::optional<int64_t> index_in(const Value& key) {
  if (key.is(Kind::integer) || key.is(Kind::boolean)) return key.integer();
  return std::nullopt;
}

// What Python's value[key] finds; absent if nothing.
Value python_item(const Value& value, const Value& key) {
  const std::optional<int64_t> index = index_in(key);
  if (value.is(Kind::dict)) {
    if (key.is(Kind::text))
      if (const Value* found = value.dict().find(key.str())) return *found;
    return Value();
  }
  const bool is_text = value.is(Kind::text), is_list = value.is(Kind::list) && value.list().has_places();
  if (!index || !(is_text || is_list)) return Value();
  const auto count = static_cast<int64_t>(is_text ? value.text().characters : value.list().items.size());
  const int64_t at = *index < 0 ? *index + count : *index;
  if (at < 0 || at >= count) return Value();
  if (is_list) return value.list().items[static_cast<size_t>(at)];
  const std::string& text = value.str();
  size_t end = value.text().is_ascii() ? static_cast<size_t>(at) : offset_of(text, static_cast<size_t>(at));
  const size_t begin = end;
  read_character(text, end);
  return Value::text(text.substr(begin, end - begin), value.text().markup);
}

// Python's slice.indices for one bound.
int64_t bound(const Value& given, int64_t count, int64_t low, int64_t high, int64_t fallback) {
  if (given.is(Kind::absent) || given.is(Kind::none)) return fallback;
  const std::optional<int64_t> index = index_in(given);
  if (given.is(Kind::large)) beyond("integers beyond 64 bits");
  if (!index) fail("slice indices must be integers or None or have an __index__ method");
  const int64_t at = *index < 0 ? (*index < -count ? low - 1 : *index + count) : *index;
  return std::clamp(at, low, high);
}

}  // namespace

Value attribute_of(const Value& value, const std::string& name) {
  if (value.is(Kind::undefined)) fail_undefined(value);
  Value found = python_attribute(value, name);
  if (found.is(Kind::absent) && value.is(Kind::dict))
    if (const Value* item = value.dict().find(name)) return *item;
  return found.is(Kind::absent) ? no_attribute(value, name) : found;
}

Value item_of(const Value& value, const Value& key) {
  if (value.is(Kind::undefined)) fail_undefined(value);
  Value found = python_item(value, key);
  if (!found.is(Kind::absent)) return found;
  if (!key.is(Kind::text)) return Value::undefined(full_type_name(value) + " has no element " + represented(key));
  found = python_attribute(value, key.str());
  return found.is(Kind::absent) ? no_attribute(value, key.str()) : found;
}

Value slice_of(const Value& value, const Value& begin, const Value& end, const Value& step) {
  if (value.is(Kind::undefined)) fail_undefined(value);
  if (value.is(Kind::dict)) fail("unhashable type: 'slice'");
  const bool is_text = value.is(Kind::text);
  if (!is_text && !(value.is(Kind::list) && value.list().has_places()))
    fail("'" + type_name(value) + "' object is not subscriptable");
  int64_t by = 1;
  if (!step.is(Kind::absent) && !step.is(Kind::none)) {
    const std::optional<int64_t> given = index_in(step);
    if (!given) fail("slice indices must be integers or None or have an __index__ method");
    if (*given == 0) fail("slice step cannot be zero");
    by = std::clamp<int64_t>(*given, -(int64_t{1} << 40), int64_t{1} << 40);
  }
  const auto count = static_cast<int64_t>(is_text ? value.text().characters : value.list().items.size());
  const int64_t low = by < 0 ? -1 : 0, high = by < 0 ? count - 1 : count;
  const int64_t first = bound(begin, count, low, high, by < 0 ? high : low);
  const int64_t last = bound(end, count, low, high, by < 0 ? low : high);
  if (is_text && by == 1) {
    const std::string& text = value.str();
    if (first >= last) return Value::text("", value.text().markup);
    const bool ascii = value.text().is_ascii();
    const auto place = [&](int64_t at) { return ascii ? static_cast<size_t>(at) : offset_of(text, static_cast<size_t>(at)); };
    const size_t from = place(first);
    return Value::text(text.substr(from, place(last) - from), value.text().markup);
  }
  std::vector<size_t> places;  // of characters, where they begin
  if (is_text)
    for (size_t at = 0; at < value.str().size();) places.push_back(at), read_character(value.str(), at);
  std::string text;
  std::vector<Value> items;
  for (int64_t at = first; by < 0 ? at > last : at < last; at += by) {
    if (!is_text) {
      items.push_back(value.list().items[static_cast<size_t>(at)]);
      continue;
    }
    size_t next = places[static_cast<size_t>(at)];
    const size_t from = next;
    read_character(value.str(), next);
    text.append(value.str(), from, next - from);
  }
  if (is_text) return Value::text(std::move(text), value.text().markup);
  return {Kind::list, std::make_shared<List>(std::move(items), value.list().form)};
}

Path::Path(const Value& attribute) {
  if (attribute.is(Kind::absent) || attribute.is(Kind::none)) return;
  if (!attribute.is(Kind::text)) {
    keys_.push_back(attribute);
    return;
  }
  const std::string& text = attribute.str();
  for (size_t at = 0;; ++at) {
    const size_t end = std::min(text.find('.', at), text.size());
    std::string part = text.substr(at, end - at);
    const bool number = !part.empty() && std::all_of(part.begin(), part.end(), [](char c) { return c >= '0' && c <= '9'; });
    if (number && part.size() > 18) beyond("integers beyond 64 bits");
    keys_.push_back(number ? Value(static_cast<int64_t>(std::stoll(part))) : Value::text(std::move(part)));
    if (end == text.size()) return;
    at = end;
  }
}

Value Path::of(Value value, const Value& fallback) const {
  for (const Value& key : keys_) {
    value = item_of(value, key);
    if (value.is(Kind::undefined) && !fallback.is(Kind::absent) && !fallback.is(Kind::none)) value = fallback;
  }
  return value;
}

}  // namespace q3e::chat
