#include "template/text_methods.h"

#include <algorithm>
#include <optional>
#include <unordered_map>

#include "template/characters.h"
#include "template/compare.h"
#include "template/iteration.h"
#include "template/letters.h"
#include "template/written.h"

namespace q3e::chat {
namespace {

Value texts(const std::vector<std::string_view>& parts) {
  std::vector<Value> items;
  for (const std::string_view part : parts) items.push_back(Value::text(std::string(part)));
  return Value::list(std::move(items));
}

const std::string& text_of(const Value& value, const std::string& method) {
  if (value.is(Kind::undefined)) fail(method + "() argument must be str, not Undefined");
  if (!value.is(Kind::text)) fail(method + "() argument must be str, not " + type_name(value));
  if (value.text().markup) beyond("a text of the filter safe in a method");
  return value.str();
}

int64_t integer_of(const Value& value, int64_t fallback) {
  if (value.is(Kind::absent)) return fallback;
  if (value.is(Kind::large)) beyond("integers beyond 64 bits");
  if (!value.is(Kind::integer) && !value.is(Kind::boolean))
    fail("'" + type_name(value) + "' object cannot be interpreted as an integer");
  return value.integer();
}

bool is_left_out(const Value& value) { return value.is(Kind::absent) || value.is(Kind::none); }

using TextMethod = Value (*)(Budget& budget, const Text& text, const std::string& name, const Arguments& arguments);

Value starts_or_ends(Budget&, const Text& text, const std::string& name, const Arguments& arguments) {
  static constexpr const char* kNames[] = {"", "start", "end"};
  Value given[3];
  arguments.take(name, kNames, given, 1);
  if (!is_left_out(given[1]) || !is_left_out(given[2])) beyond("bounds in " + name);
  const bool at_start = name == "startswith";
  const auto has = [&](const Value& part) {
    if (!part.is(Kind::text)) fail(name + " first arg must be str or a tuple of str, not " + type_name(part));
    return at_start ? text.bytes.starts_with(part.str()) : text.bytes.ends_with(part.str());
  };
  if (!given[0].is(Kind::list) || given[0].list().form != List::Form::tuple) return Value(has(given[0]));
  const std::vector<Value>& parts = given[0].list().items;
  return Value(std::any_of(parts.begin(), parts.end(), has));
}

Value strip(Budget&, const Text& text, const std::string& name, const Arguments& arguments) {
  static constexpr const char* kNames[] = {""};
  Value given[1];
  arguments.take(name, kNames, given, 0);
  const Side side = name == "strip" ? Side::both : name == "lstrip" ? Side::left : Side::right;
  if (is_left_out(given[0])) return Value::text(std::string(stripped(text.bytes, side)));
  if (!given[0].is(Kind::text)) fail(name + " arg must be None or str");
  return Value::text(std::string(stripped(text.bytes, side, given[0].str())));
}

size_t at_first_blank(std::string_view text) {
  for (size_t at = 0, next = 0; at < text.size(); at = next)
    if (is_space(read_character(text, next))) return at;
  return text.size();
}

size_t behind_last_blank(std::string_view text) {
  for (size_t end = text.size(), at = end; at-- > 0;) {
    if ((static_cast<uint8_t>(text[at]) & 0xc0u) == 0x80u) continue;  // inside a character
    size_t next = at;
    if (is_space(read_character(text, next))) return end;
    end = at;
  }
  return 0;
}

// Pieces between blanks, from the left or from the right; at most `most` cuts.
std::vector<std::string_view> split_at_blanks(std::string_view text, uint64_t most, bool from_right) {
  std::vector<std::string_view> parts;
  const Side side = from_right ? Side::right : Side::left;
  for (text = stripped(text, side); !text.empty(); text = stripped(text, side)) {
    if (parts.size() == most) {
      parts.push_back(text);
      break;
    }
    const size_t cut = from_right ? behind_last_blank(text) : at_first_blank(text);
    parts.push_back(from_right ? text.substr(cut) : text.substr(0, cut));
    text = from_right ? text.substr(0, cut) : text.substr(cut);
    check_items(parts.size());
  }
  if (from_right) std::reverse(parts.begin(), parts.end());
  return parts;
}

std::vector<std::string_view> split_at(std::string_view text, std::string_view separator, uint64_t most, bool from_right) {
  std::vector<std::string_view> parts;
  while (parts.size() < most) {
    const size_t at = from_right ? text.rfind(separator) : text.find(separator);
    if (at == text.npos) break;
    parts.push_back(from_right ? text.substr(at + separator.size()) : text.substr(0, at));
    text = from_right ? text.substr(0, at) : text.substr(at + separator.size());
    check_items(parts.size() + 1);
  }
  parts.push_back(text);
  if (from_right) std::reverse(parts.begin(), parts.end());
  return parts;
}

Value split(Budget&, const Text& text, const std::string& name, const Arguments& arguments) {
  static constexpr const char* kNames[] = {"sep", "maxsplit"};
  Value given[2];
  arguments.take(name, kNames, given, 0);
  const int64_t cuts = integer_of(given[1], -1);
  const uint64_t most = cuts < 0 ? UINT64_MAX : static_cast<uint64_t>(cuts);
  if (is_left_out(given[0])) return texts(split_at_blanks(text.bytes, most, name == "rsplit"));
  if (!given[0].is(Kind::text)) fail("must be str or None, not " + type_name(given[0]));
  if (given[0].str().empty()) fail("empty separator");
  return texts(split_at(text.bytes, given[0].str(), most, name == "rsplit"));
}

Value split_lines(Budget&, const Text& text, const std::string& name, const Arguments& arguments) {
  static constexpr const char* kNames[] = {"keepends"};
  Value given[1];
  arguments.take(name, kNames, given, 0);
  return texts(lines_of(text.bytes, is_true(given[0])));
}

Value change_case(Budget&, const Text& text, const std::string& name, const Arguments& arguments) {
  arguments.take_none(name);
  if (name == "upper") return Value::text(upper(text.bytes));
  if (name == "lower") return Value::text(lower(text.bytes));
  if (!text.is_ascii()) beyond(name + " of other letters than ASCII's");
  std::string out = text.bytes;
  bool inside = false;  // a word
  for (char& c : out) {
    const bool small = c >= 'a' && c <= 'z', capital = c >= 'A' && c <= 'Z';
    if (small && !inside) c = static_cast<char>(c - 32);
    if (capital && inside) c = static_cast<char>(c + 32);
    inside = name == "capitalize" || small || capital;
  }
  return Value::text(std::move(out));
}

Value replace(Budget&, const Text& text, const std::string& name, const Arguments& arguments) {
  static constexpr const char* kNames[] = {"old", "new", "count"};
  Value given[3];
  arguments.take(name, kNames, given, 2);
  return replaced(text, text_of(given[0], name), text_of(given[1], name), integer_of(given[2], -1));
}

Value join_method(Budget& budget, const Text& text, const std::string& name, const Arguments& arguments) {
  static constexpr const char* kNames[] = {"iterable"};
  Value given[1];
  arguments.take(name, kNames, given, 0);
  budget.consume(given[0]);
  return join(budget, Value::text(text.bytes), given[0].is(Kind::absent) ? std::vector<Value>() : items_of(given[0]));
}

Value find(Budget&, const Text& text, const std::string& name, const Arguments& arguments) {
  static constexpr const char* kNames[] = {"sub", "start", "end"};
  Value given[3];
  arguments.take(name, kNames, given, 1);
  if (!is_left_out(given[1]) || !is_left_out(given[2])) beyond("bounds in " + name);
  if (!given[0].is(Kind::text)) fail("must be str, not " + type_name(given[0]));
  const std::string& part = given[0].str();
  if (name == "count") {
    if (part.empty()) return Value(static_cast<int64_t>(text.characters) + 1);
    int64_t count = 0;
    for (size_t at = text.bytes.find(part); at != std::string::npos; at = text.bytes.find(part, at + part.size())) ++count;
    return Value(count);
  }
  const bool from_right = name == "rfind" || name == "rindex";
  const size_t at = from_right ? text.bytes.rfind(part) : text.bytes.find(part);
  if (at != std::string::npos) return Value(static_cast<int64_t>(count_characters(std::string_view(text.bytes).substr(0, at))));
  if (name == "index" || name == "rindex") fail("substring not found");
  return Value(int64_t{-1});
}

Value classify(Budget&, const Text& text, const std::string& name, const Arguments& arguments) {
  arguments.take_none(name);
  if (name == "isascii") return Value(text.is_ascii());
  if (!text.is_ascii()) beyond(name + " of other characters than ASCII's");
  const auto is_small = [](char c) { return c >= 'a' && c <= 'z'; };
  const auto is_capital = [](char c) { return c >= 'A' && c <= 'Z'; };
  const auto is_letter = [&](char c) { return is_small(c) || is_capital(c); };
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  const auto all = [&](const auto& has) { return !text.bytes.empty() && std::all_of(text.bytes.begin(), text.bytes.end(), has); };
  const auto any = [&](const auto& has) { return std::any_of(text.bytes.begin(), text.bytes.end(), has); };
  if (name == "isalpha") return Value(all(is_letter));
  if (name == "isalnum") return Value(all([&](char c) { return is_letter(c) || is_digit(c); }));
  if (name == "isspace") return Value(all([](char c) { return is_space(static_cast<uint8_t>(c)); }));
  if (name == "islower") return Value(any(is_small) && !any(is_capital));
  if (name == "isupper") return Value(any(is_capital) && !any(is_small));
  return Value(all(is_digit));
}

Value without(Budget&, const Text& text, const std::string& name, const Arguments& arguments) {
  static constexpr const char* kNames[] = {""};
  Value given[1];
  arguments.take(name, kNames, given, 1);
  const std::string& part = text_of(given[0], name);
  if (name == "removeprefix") return Value::text(text.bytes.starts_with(part) ? text.bytes.substr(part.size()) : text.bytes);
  return Value::text(text.bytes.ends_with(part) ? text.bytes.substr(0, text.bytes.size() - part.size()) : text.bytes);
}

Value partition(Budget&, const Text& text, const std::string& name, const Arguments& arguments) {
  static constexpr const char* kNames[] = {""};
  Value given[1];
  arguments.take(name, kNames, given, 1);
  const std::string& part = text_of(given[0], name);
  if (part.empty()) fail("empty separator");
  const bool from_right = name == "rpartition";
  const size_t at = from_right ? text.bytes.rfind(part) : text.bytes.find(part);
  std::vector<Value> items(3, Value::text(""));
  if (at == std::string::npos) {
    items[from_right ? 2 : 0] = Value::text(text.bytes);
  } else {
    items = {Value::text(text.bytes.substr(0, at)), Value::text(part), Value::text(text.bytes.substr(at + part.size()))};
  }
  return Value::tuple(std::move(items));
}

const std::unordered_map<std::string_view, TextMethod>& text_methods() {
  static const std::unordered_map<std::string_view, TextMethod> kMethods = {
      {"startswith", starts_or_ends},
      {"endswith", starts_or_ends},
      {"strip", strip},
      {"lstrip", strip},
      {"rstrip", strip},
      {"split", split},
      {"rsplit", split},
      {"splitlines", split_lines},
      {"upper", change_case},
      {"lower", change_case},
      {"capitalize", change_case},
      {"title", change_case},
      {"replace", replace},
      {"join", join_method},
      {"find", find},
      {"rfind", find},
      {"index", find},
      {"rindex", find},
      {"count", find},
      {"isascii", classify},
      {"isalpha", classify},
      {"isalnum", classify},
      {"isspace", classify},
      {"islower", classify},
      {"isupper", classify},
      {"isdigit", classify},
      {"isdecimal", classify},
      {"isnumeric", classify},
      {"removeprefix", without},
      {"removesuffix", without},
      {"partition", partition},
      {"rpartition", partition},
  };
  return kMethods;
}

}  // namespace

std::vector<std::string_view> lines_of(std::string_view text, bool with_breaks) {
  std::vector<std::string_view> lines;
  for (size_t begin = 0, at = 0; begin < text.size();) {
    size_t next = at;
    bool ends = at >= text.size();
    if (!ends) {
      const uint32_t c = read_character(text, next);
      ends = is_line_break(c);
      if (c == '\r' && next < text.size() && text[next] == '\n') ++next;
    }
    if (ends) {
      lines.push_back(text.substr(begin, (with_breaks ? next : at) - begin));
      check_items(lines.size());
      begin = next;
    }
    at = next;
  }
  return lines;
}

Value join(Budget& budget, const Value& separator, const std::vector<Value>& values) {
  const std::string between = written(separator);
  const uint64_t gap = separator.is(Kind::text) ? separator.text().characters : count_characters(between);
  std::string out;
  uint64_t characters = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    if (i > 0) out += between;
    const Value text = as_text(values[i]);
    characters += text.text().characters + gap;
    check_characters(characters);
    out += text.str();
  }
  return budget.charge(Value::text(std::move(out)));
}

Value replaced(const Text& text, const std::string& old, const std::string& with, int64_t count) {
  uint64_t left = count < 0 ? UINT64_MAX : static_cast<uint64_t>(count);
  const uint64_t longer = count_characters(with);
  uint64_t characters = text.characters;
  const auto once_more = [&] {
    characters += longer;
    check_characters(characters);
    --left;
  };
  std::string out;
  size_t at = 0;
  if (old.empty()) {
    while (left > 0) {
      out += with;
      once_more();
      if (at == text.bytes.size()) break;
      size_t next = at;
      read_character(text.bytes, next);
      out.append(text.bytes, at, next - at);
      at = next;
    }
  } else {
    for (size_t found; left > 0 && (found = text.bytes.find(old, at)) != std::string::npos; at = found + old.size()) {
      out.append(text.bytes, at, found - at);
      out += with;
      once_more();
    }
  }
  out.append(text.bytes, at);
  return Value::text(std::move(out));
}

Value call_of_text(Budget& budget, const Value& text, const std::string& name, const Arguments& arguments) {
  const auto found = text_methods().find(name);
  if (found == text_methods().end()) beyond("the method " + name + " of a text");
  if (text.text().markup) beyond("a method of a text of the filter safe");
  if (name != "startswith" && name != "endswith") budget.consume(text);
  return found->second(budget, text.text(), name, arguments);
}

}  // namespace q3e::chat
