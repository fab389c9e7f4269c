// JSON (RFC 8259) character by character: whether what came so far can still become one value, and where in it that is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace q3e {

enum class JsonKind : uint8_t { string = 1, number = 2, boolean = 4, object = 8, array = 16, null = 32 };  // bits

// Bounds what readers of the text choke on: nesting, and the digits of a number; both stay within what the arguments of a message
// may have, so that what was read can be sent back. Text is UTF-8, and taken as it is in strings.
class JsonScanner {
 public:
  static constexpr size_t kMostDepth = 96, kMostDigits = 300;

  // Whether the value can go on with this character. After one that it cannot, nothing may be asked any more.
  bool push(char c);

  bool done() const { return depth() == 0 && (state_ == State::after || ends_number()); }  // the text so far is a value
  bool in_string() const { return state_ >= State::string; }
  bool before_value() const { return state_ == State::value || state_ == State::first_item; }
  bool after_key() const { return state_ == State::colon; }
  bool after_value() const { return state_ == State::after; }  // of a number: with the character behind it
  bool in_key() const { return in_string() && is_key_; }
  size_t depth() const { return open_.size(); }

 private:
  enum class State : uint8_t {
    value,
    first_item,  // or `]`
    first_key,   // or `}`
    key,
    colon,
    after,  // a value
    literal,
    minus,
    zero,
    digits,
    point,
    fraction,
    exponent,
    exponent_sign,
    exponent_digits,
    string,  // from here on inside one
    escape,
    hex,
  };

  bool ends_number() const {
    return state_ == State::zero || state_ == State::digits || state_ == State::fraction || state_ == State::exponent_digits;
  }
  bool begin_value(char c);
  bool push_number(char c);
  bool push_after(char c);
  bool open(char c);
  bool go(State state) {
    state_ = state;
    return true;
  }

  State state_ = State::value;
  std::string open_;          // `{` and `[`
  std::string_view literal_;  // what is still to come of it
  size_t digits_ = 0;         // of this number
  uint8_t hex_ = 0;           // digits of an escape still to come
  bool is_key_ = false;
};

// The kind of the one value that a text is, blanks around it allowed; none: it is no JSON.
std::optional<JsonKind> json_kind(std::string_view text);

// What a JSON string with its quotation marks, which JsonScanner has passed, says. Surrogates without their other half become
// U+FFFD.
std::string json_text(std::string_view quoted);

// Appends a text as the inside of a JSON string.
void append_escaped(std::string_view text, std::string& out);

}  // namespace q3e
