#include "text/json_scanner.h"

namespace q3e {
namespace {

bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }

// Of a hexadecimal digit; above 15 for another character.
uint32_t hex_value(char c) {
  if (is_digit(c)) return static_cast<uint32_t>(c - '0');
  const char lower = static_cast<char>(c | 0x20);
  return lower >= 'a' && lower <= 'f' ? static_cast<uint32_t>(lower - 'a') + 10 : 16;
}

void append_utf8(uint32_t code, std::string& out) {
  const auto tail = [&](int shift) { out.push_back(static_cast<char>(0x80 | (code >> shift & 0x3f))); };
  if (code < 0x80) {
    out.push_back(static_cast<char>(code));
  } else if (code < 0x800) {
    out.push_back(static_cast<char>(0xc0 | code >> 6));
    tail(0);
  } else if (code < 0x10000) {
    out.push_back(static_cast<char>(0xe0 | code >> 12));
    tail(6), tail(0);
  } else {
    out.push_back(static_cast<char>(0xf0 | code >> 18));
    tail(12), tail(6), tail(0);
  }
}

// The four digits of an escape.
uint32_t unit_at(std::string_view text, size_t at) {
  uint32_t unit = 0;
  for (size_t i = 0; i < 4; ++i) unit = unit << 4 | hex_value(text[at + i]);
  return unit;
}

}  // namespace

bool JsonScanner::push(char c) {
  switch (state_) {
    case State::string:
      if (c == '"') return go(is_key_ ? State::colon : State::after);
      if (c == '\\') return go(State::escape);
      return static_cast<uint8_t>(c) >= 0x20;
    case State::escape:
      hex_ = 4;
      if (c == 'u') return go(State::hex);
      return std::string_view("\"\\/bfnrt").find(c) != std::string_view::npos && go(State::string);
    case State::hex:
      return hex_value(c) < 16 && (--hex_ > 0 || go(State::string));
    case State::literal:
      if (c != literal_.front()) return false;
      literal_.remove_prefix(1);
      return !literal_.empty() || go(State::after);
    case State::minus:
    case State::zero:
    case State::digits:
    case State::point:
    case State::fraction:
    case State::exponent:
    case State::exponent_sign:
    case State::exponent_digits:
      return push_number(c);
    default:
      break;
  }
  if (is_blank(c)) return true;
  switch (state_) {
    case State::first_item:
    case State::first_key:
      if (c == (state_ == State::first_key ? '}' : ']')) return push_after(c);
      if (state_ == State::first_item) return begin_value(c);
      [[fallthrough]];
    case State::key:
      is_key_ = true;
      return c == '"' && go(State::string);
    case State::colon:
      return c == ':' && go(State::value);
    case State::value:
      return begin_value(c);
    default:
      return push_after(c);
  }
}

bool JsonScanner::begin_value(char c) {
  is_key_ = false;
  digits_ = is_digit(c);
  const auto literal = [&](std::string_view rest) {
    literal_ = rest;
    return go(State::literal);
  };
  switch (c) {
    case '{':
    case '[':
      return open(c);
    case '"':
      return go(State::string);
    case 't':
      return literal("rue");
    case 'f':
      return literal("alse");
    case 'n':
      return literal("ull");
    case '-':
      return go(State::minus);
    case '0':
      return go(State::zero);
    default:
      return is_digit(c) && go(State::digits);
  }
}

bool JsonScanner::open(char c) {
  if (depth() == kMostDepth) return false;
  open_.push_back(c);
  return go(c == '{' ? State::first_key : State::first_item);
}

bool JsonScanner::push_number(char c) {
  const State state = state_;
  if (is_digit(c)) {
    if (state == State::zero || ++digits_ > kMostDigits) return false;
    if (state == State::minus) return go(c == '0' ? State::zero : State::digits);
    if (state == State::point) return go(State::fraction);
    return state == State::exponent || state == State::exponent_sign ? go(State::exponent_digits) : true;
  }
  const bool whole = state == State::zero || state == State::digits;
  if (c == '.' && whole) return go(State::point);
  if ((c == 'e' || c == 'E') && (whole || state == State::fraction)) return go(State::exponent);
  if ((c == '+' || c == '-') && state == State::exponent) return go(State::exponent_sign);
  if (!ends_number()) return false;
  return is_blank(c) ? go(State::after) : push_after(c);
}

// Behind a value, or behind the opening of what holds none.
bool JsonScanner::push_after(char c) {
  if (open_.empty()) return false;
  const bool object = open_.back() == '{';
  if (c == ',') return go(object ? State::key : State::value);
  if (c != (object ? '}' : ']')) return false;
  open_.pop_back();
  return go(State::after);
}

std::optional<JsonKind> json_kind(std::string_view text) {
  JsonScanner scanner;
  for (const char c : text)
    if (!scanner.push(c)) return std::nullopt;
  if (!scanner.done()) return std::nullopt;
  switch (text[text.find_first_not_of(" \t\r\n")]) {
    case '{':
      return JsonKind::object;
    case '[':
      return JsonKind::array;
    case '"':
      return JsonKind::string;
    case 't':
    case 'f':
      return JsonKind::boolean;
    case 'n':
      return JsonKind::null;
    default:
      return JsonKind::number;
  }
}

std::string json_text(std::string_view quoted) {
  constexpr std::string_view kEscapes = "bfnrt", kMeanings = "\b\f\n\r\t";
  const std::string_view inside = quoted.substr(1, quoted.size() - 2);
  std::string out;
  for (size_t i = 0; i < inside.size(); ++i) {
    if (inside[i] != '\\') {
      out.push_back(inside[i]);
      continue;
    }
    const char c = inside[++i];
    if (c != 'u') {
      const size_t found = kEscapes.find(c);
      out.push_back(found == kEscapes.npos ? c : kMeanings[found]);
      continue;
    }
    uint32_t code = unit_at(inside, i + 1);
    i += 4;
    if (code >= 0xd800 && code < 0xdc00 && inside.substr(i + 1, 2) == "\\u") {
      const uint32_t low = unit_at(inside, i + 3);
      if (low >= 0xdc00 && low < 0xe000) {
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
        i += 6;
      }
    }
    append_utf8(code >= 0xd800 && code < 0xe000 ? 0xfffd : code, out);
  }
  return out;
}

void append_escaped(std::string_view text, std::string& out) {
  constexpr std::string_view kEscaped = "\"\\\b\f\n\r\t", kNames = "\"\\bfnrt", kDigits = "0123456789abcdef";
  for (const char c : text) {
    const auto byte = static_cast<uint8_t>(c);
    if (const size_t found = kEscaped.find(c); found != kEscaped.npos) {
      out.push_back('\\');
      out.push_back(kNames[found]);
    } else if (byte < 0x20) {
      out += "\\u00";
      out.push_back(kDigits[byte >> 4]);
      out.push_back(kDigits[byte & 15]);
    } else {
      out.push_back(c);
    }
  }
}

}  // namespace q3e
