#include "template/written.h"

#include <charconv>
#include <cmath>
#include <cstdio>

#include "template/characters.h"
#include "template/failure.h"
#include "template/letters.h"

namespace q3e::chat {
namespace {

void append(const Value& value, std::string& out);

void append_items(const List& list, std::string& out) {
  for (size_t i = 0; i < list.items.size(); ++i) {
    if (i > 0) out += ", ";
    append(list.items[i], out);
  }
}

void append_list(const List& list, std::string& out) {
  switch (list.form) {
    case List::Form::list:
      out += '[', append_items(list, out), out += ']';
      return;
    case List::Form::tuple:
      out += '(', append_items(list, out), out += list.items.size() == 1 ? ",)" : ")";
      return;
    case List::Form::keys:
    case List::Form::values:
    case List::Form::items:
      out += list.type_name(), out += "([", append_items(list, out), out += "])";
      return;
    default:
      beyond(std::string("the text of a ") + list.type_name());
  }
}

void append_dict(const Dict& dict, std::string& out) {
  out += '{';
  for (size_t i = 0; i < dict.items().size(); ++i) {
    if (i > 0) out += ", ";
    append(dict.items()[i].first, out);
    out += ": ";
    append(dict.items()[i].second, out);
  }
  out += '}';
}

void append_text(std::string_view text, std::string& out) {
  const bool doubled = text.find('\'') != text.npos && text.find('"') == text.npos;
  const char quote = doubled ? '"' : '\'';
  out += quote;
  char escape[16];
  for (size_t at = 0; at < text.size();) {
    const size_t begin = at;
    const uint32_t c = read_character(text, at);
    if (c == static_cast<uint32_t>(quote) || c == '\\') {
      out += '\\', out += static_cast<char>(c);
    } else if (c == '\n' || c == '\r' || c == '\t') {
      out += c == '\n' ? "\\n" : c == '\r' ? "\\r" : "\\t";
    } else if (is_printable(c)) {
      out += text.substr(begin, at - begin);
    } else {
      std::snprintf(escape, sizeof escape, c < 0x100 ? "\\x%02x" : c < 0x10000 ? "\\u%04x" : "\\U%08x", c);
      out += escape;
    }
  }
  out += quote;
}

void append(const Value& value, std::string& out) {
  switch (value.kind()) {
    case Kind::undefined:
      out += "Undefined";
      return;
    case Kind::text:
      if (value.text().markup) beyond("the representation of a text of the filter safe");
      append_text(value.str(), out);
      return;
    case Kind::list:
      append_list(value.list(), out);
      return;
    case Kind::dict:
      append_dict(value.dict(), out);
      return;
    default:
      out += written(value);
  }
}

}  // namespace

std::string type_name(const Value& value) {
  switch (value.kind()) {
    case Kind::absent:
    case Kind::none:
      return "NoneType";
    case Kind::undefined:
      return "Undefined";
    case Kind::boolean:
      return "bool";
    case Kind::integer:
    case Kind::large:
      return "int";
    case Kind::real:
      return "float";
    case Kind::text:
      return value.text().markup ? "Markup" : "str";
    case Kind::list:
      return value.list().type_name();
    case Kind::dict:
      return value.dict().text().is(Kind::absent) ? "dict" : "Arguments";
    case Kind::space:
      return "_Namespace";
    case Kind::loop:
      return "LoopContext";
    case Kind::macro:
      return "Macro";
    case Kind::method:
      return "builtin_function_or_method";
    case Kind::function:
      return value.function() == Function::make_dict        ? "type"
             : value.function() == Function::make_namespace ? "type"
                                                            : "function";
  }
  return "object";
}

std::string written(const Value& value) {
  switch (value.kind()) {
    case Kind::absent:
    case Kind::none:
      return "None";
    case Kind::undefined:
      return "";
    case Kind::boolean:
      return value.boolean() ? "True" : "False";
    case Kind::integer:
      return std::to_string(value.integer());
    case Kind::large:
    case Kind::text:
      return value.str();
    case Kind::real:
      return represented(value.real());
    case Kind::dict:
      if (value.dict().text().is(Kind::text)) return value.dict().text().str();
      return represented(value);
    case Kind::list:
      return represented(value);
    case Kind::space:
      return "<Namespace>";
    default:
      beyond("the text of a " + type_name(value));
  }
}

std::string represented(const Value& value) {
  std::string out;
  append(value, out);
  return out;
}

std::string represented(std::string_view text) {
  std::string out;
  append_text(text, out);
  return out;
}

std::string represented(double number) {
  if (std::isnan(number)) return "nan";
  if (std::isinf(number)) return number < 0 ? "-inf" : "inf";
  // The shortest digits that read back as the same number, laid out as Python does: with an exponent from 1e16 on and below 1e-4.
  char buffer[40];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, number, std::chars_format::scientific).ptr;
  const std::string_view all(buffer, static_cast<size_t>(end - buffer));
  const size_t mark = all.find('e');
  std::string digits;
  for (const char c : all.substr(0, mark))
    if (c >= '0' && c <= '9') digits += c;
  int exponent = 0;
  const bool small = all[mark + 1] == '-';
  for (const char c : all.substr(mark + 2)) exponent = 10 * exponent + (c - '0');
  if (small) exponent = -exponent;
  std::string out = std::signbit(number) ? "-" : "";
  const int count = static_cast<int>(digits.size());
  if (exponent < -4 || exponent >= 16) {
    out += digits[0];
    if (count > 1) out += '.', out += digits.substr(1);
    out += exponent < 0 ? "e-" : "e+";
    const int size = std::abs(exponent);
    return out + (size < 10 ? "0" : "") + std::to_string(size);
  }
  if (exponent < 0) return out + "0." + std::string(static_cast<size_t>(-exponent - 1), '0') + digits;
  if (count <= exponent + 1) return out + digits + std::string(static_cast<size_t>(exponent + 1 - count), '0') + ".0";
  return out + digits.substr(0, static_cast<size_t>(exponent) + 1) + "." + digits.substr(static_cast<size_t>(exponent) + 1);
}

Value as_text(const Value& value) { return value.is(Kind::text) ? value : Value::text(written(value)); }

}  // namespace q3e::chat
