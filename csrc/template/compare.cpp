#include "template/compare.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "template/failure.h"
#include "template/iteration.h"
#include "template/written.h"

namespace q3e::chat {
namespace {

constexpr const char* kSigns[] = {"<", "<=", ">", ">="};
constexpr int64_t kExact = int64_t{1} << 53;  // integers up to here are doubles as well

// -1, 0 or 1; 2: not a number.
int sign_of(const Value& a, const Value& b) {
  if (a.is(Kind::large) || b.is(Kind::large)) beyond("the order of integers beyond 64 bits");
  const bool a_real = a.is(Kind::real), b_real = b.is(Kind::real);
  if (!a_real && !b_real) return (a.integer() > b.integer()) - (a.integer() < b.integer());
  for (const Value* each : {&a, &b})
    if (!each->is(Kind::real) && (each->integer() > kExact || each->integer() < -kExact))
      beyond("the order of a float and an integer beyond 53 bits");
  const double x = a_real ? a.real() : static_cast<double>(a.integer());
  const double y = b_real ? b.real() : static_cast<double>(b.integer());
  if (std::isnan(x) || std::isnan(y)) return 2;
  return (x > y) - (x < y);
}

bool has(int sign, Order order) {
  switch (order) {
    case Order::less:
      return sign == -1;
    case Order::less_or_equal:
      return sign == -1 || sign == 0;
    case Order::greater:
      return sign == 1;
    default:
      return sign == 1 || sign == 0;
  }
}

bool equal_items(const List& a, const List& b) {
  return a.items.size() == b.items.size() && std::equal(a.items.begin(), a.items.end(), b.items.begin(), equals);
}

bool equal_lists(const Value& a, const Value& b) {
  if (a.object() == b.object()) return true;
  const List::Form form = a.list().form;
  if (form != b.list().form || form == List::Form::once || form == List::Form::values) return false;
  if (form == List::Form::keys || form == List::Form::items) beyond("the comparison of a dict's views");
  return equal_items(a.list(), b.list());
}

bool equal_dicts(const Dict& a, const Dict& b) {
  if (a.items().size() != b.items().size()) return false;
  return std::all_of(a.items().begin(), a.items().end(), [&](const Dict::Item& item) {
    const Value* other = b.find(item.first.str());
    return other && equals(item.second, *other);
  });
}

}  // namespace

bool is_number(const Value& value) {
  return value.is(Kind::boolean) || value.is(Kind::integer) || value.is(Kind::real) || value.is(Kind::large);
}

bool is_true(const Value& value) {
  switch (value.kind()) {
    case Kind::absent:
    case Kind::undefined:
    case Kind::none:
      return false;
    case Kind::boolean:
    case Kind::integer:
      return value.integer() != 0;
    case Kind::real:
      return value.real() != 0;
    case Kind::text:
      return !value.str().empty();
    case Kind::list:
      return value.list().form == List::Form::once || !value.list().items.empty();
    case Kind::dict:
      return !value.dict().items().empty();
    case Kind::loop:
      return true;  // inside its loop, which has at least one item
    default:
      return true;
  }
}

bool equals(const Value& a, const Value& b) {
  if (is_number(a) && is_number(b)) {
    if (a.is(Kind::large) || b.is(Kind::large)) {
      if (a.is(Kind::real) || b.is(Kind::real)) beyond("the comparison of a float and an integer beyond 64 bits");
      return a.is(Kind::large) && b.is(Kind::large) && a.str() == b.str();
    }
    return sign_of(a, b) == 0;
  }
  if (a.kind() != b.kind()) return false;
  switch (a.kind()) {
    case Kind::text:
      return a.str() == b.str();
    case Kind::list:
      return equal_lists(a, b);
    case Kind::dict:
      return equal_dicts(a.dict(), b.dict());
    case Kind::none:
    case Kind::undefined:
      return true;
    case Kind::macro:
      return a.macro() == b.macro();
    case Kind::function:
      return a.function() == b.function();
    case Kind::method:
      return a.method().name == b.method().name && a.method().owner.object() == b.method().owner.object();
    default:
      return a.object() == b.object();
  }
}

bool ordered(const Value& a, const Value& b, Order order) {
  for (const Value* each : {&a, &b})
    if (each->is(Kind::undefined)) fail_undefined(*each);
  if (is_number(a) && is_number(b)) return has(sign_of(a, b), order);
  if (a.is(Kind::text) && b.is(Kind::text)) {
    const int compared = a.str().compare(b.str());  // of UTF-8, which has the order of the characters
    return has((compared > 0) - (compared < 0), order);
  }
  if (a.is(Kind::list) && b.is(Kind::list) && a.list().form == b.list().form && a.list().form <= List::Form::tuple) {
    const std::vector<Value>&x = a.list().items, &y = b.list().items;
    for (size_t i = 0; i < std::min(x.size(), y.size()); ++i)
      if (!equals(x[i], y[i])) return ordered(x[i], y[i], order);
    return has((x.size() > y.size()) - (x.size() < y.size()), order);
  }
  fail("'" + std::string(kSigns[static_cast<size_t>(order)]) + "' not supported between instances of '" + type_name(a) +
       "' and '" + type_name(b) + "'");
}

bool contains(const Value& whole, const Value& part) {
  switch (whole.kind()) {
    case Kind::text:
      if (!part.is(Kind::text)) fail("'in <string>' requires string as left operand, not " + type_name(part));
      return whole.str().find(part.str()) != std::string::npos;
    case Kind::dict:
      if (part.is(Kind::text)) return whole.dict().find(part.str()) != nullptr;
      require_hashable(part);
      return false;
    case Kind::list: {
      if (whole.list().form == List::Form::once || whole.list().form == List::Form::items)
        beyond(std::string("a search in a ") + whole.list().type_name());
      const std::vector<Value>& items = whole.list().items;
      return std::any_of(items.begin(), items.end(), [&](const Value& item) { return equals(item, part); });
    }
    case Kind::undefined:
      return false;
    default:
      fail("argument of type '" + type_name(whole) + "' is not iterable");
  }
}

}  // namespace q3e::chat
