#include "template/json_value.h"

#include <charconv>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <utility>
#include <vector>

#include "base/error.h"
#include "text/json_scanner.h"

namespace q3e::chat {
namespace {

// Of a text that JsonScanner has passed, which bounds its depth.
class Builder {
 public:
  explicit Builder(std::string_view text) : text_(text) {}

  Value value() {
    skip_blanks();
    switch (text_[at_]) {
      case '{':
        return dict();
      case '[':
        return list();
      case '"':
        return Value::text(string());
      case 't':
        at_ += 4;
        return Value(true);
      case 'f':
        at_ += 5;
        return Value(false);
      case 'n':
        at_ += 4;
        return Value::none();
      default:
        return number();
    }
  }

 private:
  char next() {
    skip_blanks();
    return text_[at_];
  }

  void skip_blanks() { at_ = text_.find_first_not_of(" \t\r\n", at_); }

  // Whether there is another item; passes what separates or ends them.
  bool goes_on(char end) {
    const char c = next();
    if (c == ',' || c == end) ++at_;
    return c != end;
  }

  Value dict() {
    std::vector<Dict::Item> items;
    for (++at_; goes_on('}');) {
      skip_blanks();
      Value key = Value::text(string());
      skip_blanks();
      ++at_;  // the colon
      items.emplace_back(std::move(key), value());
    }
    return {Kind::dict, std::make_shared<Dict>(std::move(items))};
  }

  Value list() {
    std::vector<Value> items;
    for (++at_; goes_on(']');) items.push_back(value());
    return Value::list(std::move(items));
  }

  std::string string() {
    const size_t begin = at_++;
    for (; text_[at_] != '"'; ++at_) at_ += text_[at_] == '\\';
    return json_text(text_.substr(begin, ++at_ - begin));
  }

  Value number() {
    const size_t end = std::min(text_.find_first_not_of("+-.0123456789eE", at_), text_.size());
    const std::string_view digits = text_.substr(at_, end - at_);
    at_ = end;
    if (digits.find_first_of(".eE") != digits.npos) return Value(real(digits));
    int64_t integer = 0;
    if (std::from_chars(digits.data(), digits.data() + digits.size(), integer).ec == std::errc()) return Value(integer);
    return Value::large(std::string(digits));
  }

  // As Python reads it: what is too large is infinite, what is too small is zero.
  static double real(std::string_view digits) {
    double value = 0;
    if (std::from_chars(digits.data(), digits.data() + digits.size(), value).ec == std::errc()) return value;
    const size_t exponent = digits.find_first_of("eE");
    const bool small = exponent != digits.npos && digits.substr(exponent + 1, 1) == "-";
    const double size = small ? 0 : std::numeric_limits<double>::infinity();
    return digits.front() == '-' ? -size : size;
  }

  std::string_view text_;
  size_t at_ = 0;
};

}  // namespace

Value parsed_json(std::string_view text, const std::string& name) {
  if (!json_kind(text))
    throw Error(Status::bad_argument, name + ": expected JSON nested at most " + std::to_string(JsonScanner::kMostDepth) +
                                          " deep, with numbers of at most " + std::to_string(JsonScanner::kMostDigits) +
                                          " digits, found other text");
  return Builder(text).value();
}

}  // namespace q3e::chat
