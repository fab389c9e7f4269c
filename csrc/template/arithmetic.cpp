#include "template/arithmetic.h"

#include <cmath>
#include <string>

#include "template/compare.h"
#include "template/failure.h"
#include "template/iteration.h"
#include "template/written.h"

namespace q3e::chat {
namespace {

constexpr const char* kSigns[] = {"+", "-", "*", "/", "//", "%"};
constexpr int64_t kExact = int64_t{1} << 53;

[[noreturn]] void unsupported(Operator op, const Value& a, const Value& b) {
  fail("unsupported operand type(s) for " + std::string(kSigns[static_cast<size_t>(op)]) + ": '" + type_name(a) + "' and '" +
       type_name(b) + "'");
}

[[noreturn]] void too_large() { beyond("integers beyond 64 bits"); }

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&#34;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

Value joined(const Text& a, const Text& b) {
  check_characters(a.characters + b.characters);
  if (a.markup == b.markup) return Value::text(a.bytes + b.bytes, a.markup);
  return Value::text((a.markup ? a.bytes : escaped(a.bytes)) + (b.markup ? b.bytes : escaped(b.bytes)), true);
}

// Of kinds that a text, a list or arguments of a call are one of; absent for others.
Value concatenated(const Value& a, const Value& b) {
  const auto arguments = [](const Value& v) { return v.is(Kind::dict) && v.dict().text().is(Kind::text); };
  if (a.is(Kind::text) && b.is(Kind::text)) return joined(a.text(), b.text());
  if (arguments(a) && b.is(Kind::text)) return joined(a.dict().text().text(), b.text());
  if (a.is(Kind::text) && arguments(b)) return joined(a.text(), b.dict().text().text());
  if (a.is(Kind::text)) fail("can only concatenate str (not \"" + type_name(b) + "\") to str");
  if (a.is(Kind::list) && a.list().form <= List::Form::tuple) {
    if (!b.is(Kind::list) || b.list().form != a.list().form)
      fail("can only concatenate " + type_name(a) + " (not \"" + type_name(b) + "\") to " + type_name(a));
    check_items(a.list().items.size() + b.list().items.size());
    std::vector<Value> items = a.list().items;
    items.insert(items.end(), b.list().items.begin(), b.list().items.end());
    return a.list().form == List::Form::list ? Value::list(std::move(items)) : Value::tuple(std::move(items));
  }
  return Value();
}

bool is_whole(const Value& value) { return value.is(Kind::boolean) || value.is(Kind::integer); }

// A text or a list so many times; absent for other kinds.
Value repeated(const Value& value, const Value& count) {
  const bool several = value.is(Kind::text) || (value.is(Kind::list) && value.list().form <= List::Form::tuple);
  if (several && !is_whole(count)) fail("can't multiply sequence by non-int of type '" + type_name(count) + "'");
  const uint64_t times = count.integer() < 0 ? 0 : static_cast<uint64_t>(count.integer());
  if (value.is(Kind::text)) {
    const Text& text = value.text();
    if (text.characters > 0 && times > kMostCharacters) check_characters(times);
    check_characters(text.characters * times);
    std::string out;
    if (!text.bytes.empty()) {
      out.reserve(text.bytes.size() * times);
      for (uint64_t i = 0; i < times; ++i) out += text.bytes;
    }
    return Value::text(std::move(out), text.markup);
  }
  if (value.is(Kind::list) && value.list().form <= List::Form::tuple) {
    const List& list = value.list();
    if (!list.items.empty() && times > kMostItems) check_items(times);
    check_items(list.items.size() * times);
    std::vector<Value> items;
    if (!list.items.empty())
      for (uint64_t i = 0; i < times; ++i) items.insert(items.end(), list.items.begin(), list.items.end());
    return list.form == List::Form::list ? Value::list(std::move(items)) : Value::tuple(std::move(items));
  }
  return Value();
}

Value of_integers(Operator op, int64_t a, int64_t b) {
  int64_t out = 0;
  switch (op) {
    case Operator::add:
      if (__builtin_add_overflow(a, b, &out)) too_large();
      return Value(out);
    case Operator::subtract:
      if (__builtin_sub_overflow(a, b, &out)) too_large();
      return Value(out);
    case Operator::multiply:
      if (__builtin_mul_overflow(a, b, &out)) too_large();
      return Value(out);
    case Operator::divide:
      if (b == 0) fail("division by zero");
      if (a > kExact || a < -kExact || b > kExact || b < -kExact) beyond("the quotient of integers beyond 53 bits");
      return Value(static_cast<double>(a) / static_cast<double>(b));
    default:
      break;
  }
  if (b == 0) fail("integer division or modulo by zero");
  if (b == -1) return op == Operator::modulo ? Value(int64_t{0}) : negated(Value(a));
  int64_t quotient = a / b, rest = a % b;
  if (rest != 0 && (rest < 0) != (b < 0)) --quotient, rest += b;
  return Value(op == Operator::modulo ? rest : quotient);
}

Value of_reals(Operator op, double a, double b) {
  switch (op) {
    case Operator::add:
      return Value(a + b);
    case Operator::subtract:
      return Value(a - b);
    case Operator::multiply:
      return Value(a * b);
    default:
      break;
  }
  if (b == 0) fail("float division by zero");
  if (op == Operator::divide) return Value(a / b);
  double rest = std::fmod(a, b);
  double quotient = (a - rest) / b;
  if (rest != 0) {
    if ((b < 0) != (rest < 0)) rest += b, quotient -= 1;
  } else {
    rest = std::copysign(0.0, b);
  }
  if (op == Operator::modulo) return Value(rest);
  if (quotient == 0) return Value(std::copysign(0.0, a / b));
  const double whole = std::floor(quotient);
  return Value(quotient - whole > 0.5 ? whole + 1 : whole);
}

}  // namespace

Value computed(Operator op, const Value& a, const Value& b) {
  if (op == Operator::modulo && a.is(Kind::text)) beyond("a format with %");
  if (a.is(Kind::undefined)) fail_undefined(a);
  if (b.is(Kind::undefined)) fail_undefined(b);
  if (is_number(a) && is_number(b)) {
    if (a.is(Kind::large) || b.is(Kind::large)) too_large();
    if (!a.is(Kind::real) && !b.is(Kind::real)) return of_integers(op, a.integer(), b.integer());
    const auto real = [](const Value& v) { return v.is(Kind::real) ? v.real() : static_cast<double>(v.integer()); };
    return of_reals(op, real(a), real(b));
  }
  Value made;
  if (op == Operator::add) made = concatenated(a, b);
  if (op == Operator::multiply) made = repeated(a, b);
  if (op == Operator::multiply && made.is(Kind::absent)) made = repeated(b, a);
  if (made.is(Kind::absent)) unsupported(op, a, b);
  return made;
}

Value negated(const Value& value) {
  if (value.is(Kind::undefined)) fail_undefined(value);
  if (value.is(Kind::real)) return Value(-value.real());
  if (value.is(Kind::large)) too_large();
  if (!is_whole(value)) fail("bad operand type for unary -: '" + type_name(value) + "'");
  int64_t out = 0;
  if (__builtin_sub_overflow(int64_t{0}, value.integer(), &out)) too_large();
  return Value(out);
}

Value with_sign(const Value& value) {
  if (value.is(Kind::undefined)) fail_undefined(value);
  if (value.is(Kind::boolean)) return Value(value.integer());
  if (!is_number(value)) fail("bad operand type for unary +: '" + type_name(value) + "'");
  return value;
}

}  // namespace q3e::chat
