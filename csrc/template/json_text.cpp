#include "template/json_text.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string_view>
#include <vector>

#include "template/budget.h"
#include "template/characters.h"
#include "template/failure.h"
#include "template/written.h"

namespace q3e::chat {
namespace {

constexpr uint32_t kMark = 0xd800;  // of Tokenizer.protect

class Writer {
 public:
  explicit Writer(const JsonStyle& style) : style_(style) {}

  void write(const Value& value) {
    switch (value.kind()) {
      case Kind::none:
        out += "null";
        return;
      case Kind::boolean:
        out += value.boolean() ? "true" : "false";
        return;
      case Kind::integer:
      case Kind::large:
        out += written(value);
        return;
      case Kind::real:
        out += std::isnan(value.real())   ? "NaN"
               : std::isinf(value.real()) ? (value.real() < 0 ? "-Infinity" : "Infinity")
                                          : represented(value.real());
        return;
      case Kind::text:
        return write_text(value.str());
      case Kind::dict:
        return write_dict(value.dict());
      case Kind::list:
        if (value.list().form <= List::Form::tuple) return write_list(value.list());
        [[fallthrough]];
      default:
        fail("Object of type " + type_name(value) + " is not JSON serializable");
    }
  }

  std::string out;

 private:
  void line() {
    if (!style_.indent) return;
    out += '\n';
    for (uint32_t i = 0; i < level_; ++i) out += *style_.indent;
    check();
  }

  void check() const {
    if (out.size() > 6 * kMostCharacters) check_characters(count_characters(out));
  }

  void write_list(const List& list) {
    if (list.items.empty()) return void(out += "[]");
    out += '[';
    ++level_;
    for (size_t i = 0; i < list.items.size(); ++i) {
      if (i > 0) out += style_.item_separator;
      line();
      write(list.items[i]);
    }
    --level_;
    line();
    out += ']';
    check();
  }

  void write_dict(const Dict& dict) {
    if (dict.items().empty()) return void(out += "{}");
    std::vector<const Dict::Item*> items;
    for (const Dict::Item& item : dict.items()) items.push_back(&item);
    if (style_.sorted)
      std::stable_sort(items.begin(), items.end(), [](const auto* a, const auto* b) { return a->first.str() < b->first.str(); });
    out += '{';
    ++level_;
    for (size_t i = 0; i < items.size(); ++i) {
      if (i > 0) out += style_.item_separator;
      line();
      write_text(items[i]->first.str());
      out += style_.key_separator;
      write(items[i]->second);
    }
    --level_;
    line();
    out += '}';
    check();
  }

  void write_text(std::string_view text) {
    out += '"';
    for (size_t at = 0; at < text.size();) {
      const size_t begin = at;
      const uint32_t c = read_character(text, at);
      if (c == '"' || c == '\\') {
        out += '\\', out += static_cast<char>(c);
      } else if (c < 0x20) {
        write_control(c);
      } else if (c < 0x7f || !style_.ascii || (c == kMark && !low_surrogate_at(text, at))) {
        out += text.substr(begin, at - begin);
      } else if (c < 0x10000) {
        write_unit(c);
      } else {
        write_unit(0xd800 + ((c - 0x10000) >> 10));
        write_unit(0xdc00 + ((c - 0x10000) & 0x3ff));
      }
    }
    out += '"';
    check();
  }

  static bool low_surrogate_at(std::string_view text, size_t at) {
    if (at >= text.size()) return false;
    const uint32_t c = read_character(text, at);
    return c >= 0xdc00 && c <= 0xdfff;
  }

  void write_control(uint32_t c) {
    static constexpr std::string_view kNamed = "\b\f\n\r\t", kNames = "bfnrt";
    const size_t place = kNamed.find(static_cast<char>(c));
    if (place == kNamed.npos) return write_unit(c);
    out += '\\', out += kNames[place];
  }

  void write_unit(uint32_t unit) {
    char escape[8];
    std::snprintf(escape, sizeof escape, "\\u%04x", unit);
    out += escape;
  }

  const JsonStyle& style_;
  uint32_t level_ = 0;
};

}  // namespace

std::string json_text(const Value& value, const JsonStyle& style) {
  Writer writer(style);
  writer.write(value);
  return std::move(writer.out);
}

}  // namespace q3e::chat
