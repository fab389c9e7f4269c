#include <cmath>
#include <iterator>

#include "template/arithmetic.h"
#include "template/compare.h"
#include "template/failure.h"
#include "template/filters.h"
#include "template/iteration.h"
#include "template/letters.h"
#include "template/written.h"

namespace q3e::chat {
namespace {

bool is_remainder(const Value& value, const Value& by, int64_t rest) {
  return equals(computed(Operator::modulo, value, by), Value(rest));
}

// The only instance of its kind, so that `is sameas` is a comparison.
bool same(const Value& a, const Value& b) {
  if (a.kind() != b.kind()) return false;
  if (a.is(Kind::none)) return true;
  if (a.is(Kind::boolean)) return a.boolean() == b.boolean();
  beyond("the test sameas of other values than none, true and false");
}

constexpr Test kTests[] = {
    {"defined", 0, [](const Value& v, const Value*) { return !v.is(Kind::undefined); }},
    {"undefined", 0, [](const Value& v, const Value*) { return v.is(Kind::undefined); }},
    {"none", 0, [](const Value& v, const Value*) { return v.is(Kind::none); }},
    {"true", 0, [](const Value& v, const Value*) { return v.is(Kind::boolean) && v.boolean(); }},
    {"false", 0, [](const Value& v, const Value*) { return v.is(Kind::boolean) && !v.boolean(); }},
    {"boolean", 0, [](const Value& v, const Value*) { return v.is(Kind::boolean); }},
    {"integer", 0, [](const Value& v, const Value*) { return v.is(Kind::integer) || v.is(Kind::large); }},
    {"float", 0, [](const Value& v, const Value*) { return v.is(Kind::real); }},
    {"number", 0, [](const Value& v, const Value*) { return is_number(v); }},
    {"string", 0, [](const Value& v, const Value*) { return v.is(Kind::text); }},
    {"mapping", 0, [](const Value& v, const Value*) { return v.is(Kind::dict); }},
    {"iterable", 0, [](const Value& v, const Value*) { return is_iterable(v); }},
    {"sequence", 0,
     [](const Value& v, const Value*) {
       if (v.is(Kind::loop)) beyond("the length of a loop");
       return v.is(Kind::text) || v.is(Kind::dict) || v.is(Kind::undefined) || (v.is(Kind::list) && v.list().has_places());
     }},
    {"odd", 0, [](const Value& v, const Value*) { return is_remainder(v, Value(int64_t{2}), 1); }},
    {"even", 0, [](const Value& v, const Value*) { return is_remainder(v, Value(int64_t{2}), 0); }},
    {"divisibleby", 1, [](const Value& v, const Value* by) { return is_remainder(v, by[0], 0); }},
    {"sameas", 1, [](const Value& v, const Value* other) { return same(v, other[0]); }},
    {"in", 1, [](const Value& v, const Value* whole) { return contains(whole[0], v); }},
    {"eq", 1, [](const Value& v, const Value* other) { return equals(v, other[0]); }},
    {"ne", 1, [](const Value& v, const Value* other) { return !equals(v, other[0]); }},
    {"lt", 1, [](const Value& v, const Value* other) { return ordered(v, other[0], Order::less); }},
    {"le", 1, [](const Value& v, const Value* other) { return ordered(v, other[0], Order::less_or_equal); }},
    {"gt", 1, [](const Value& v, const Value* other) { return ordered(v, other[0], Order::greater); }},
    {"ge", 1, [](const Value& v, const Value* other) { return ordered(v, other[0], Order::greater_or_equal); }},
};

}  // namespace

const Test* find_test(std::string_view name) {
  for (const Test& test : kTests)
    if (test.name == name) return &test;
  return nullptr;
}

}  // namespace q3e::chat
