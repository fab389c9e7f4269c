#include "template/sorting.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <unordered_set>
#include <utility>

#include "template/access.h"
#include "template/compare.h"
#include "template/failure.h"
#include "template/iteration.h"
#include "template/letters.h"
#include "template/written.h"

namespace q3e::chat {
namespace {

struct Keyed {
  std::vector<Value> keys;
  Value item;
};

Value sort_key(const Value& value, bool case_sensitive) {
  if (value.is(Kind::real) && std::isnan(value.real())) beyond("the order of a number that is none");
  return value.is(Kind::text) && !case_sensitive ? Value::text(lower(value.str())) : value;
}

bool less(const Keyed& a, const Keyed& b) {
  for (size_t i = 0; i < a.keys.size(); ++i)
    if (!equals(a.keys[i], b.keys[i])) return ordered(a.keys[i], b.keys[i], Order::less);
  return false;
}

std::vector<Value> in_order(std::vector<Keyed> keyed, bool reverse) {
  std::stable_sort(keyed.begin(), keyed.end(), [&](const Keyed& a, const Keyed& b) { return reverse ? less(b, a) : less(a, b); });
  std::vector<Value> items;
  for (Keyed& each : keyed) items.push_back(std::move(each.item));
  return items;
}

std::vector<Path> paths_of(const Value& attribute) {
  if (!attribute.is(Kind::text)) return {Path(attribute)};
  std::vector<Path> paths;
  const std::string& text = attribute.str();
  for (size_t at = 0;; ++at) {
    const size_t end = std::min(text.find(',', at), text.size());
    paths.emplace_back(Value::text(text.substr(at, end - at)));
    if (end == text.size()) return paths;
    at = end;
  }
}

Value outermost(const Value& value, const Value* given, Order order) {
  const std::vector<Value> items = items_of(value);
  if (items.empty()) return Value::undefined("No aggregated item, sequence was empty.");
  const Path path(given[1]);
  const auto key = [&](const Value& item) { return sort_key(path.of(item), is_true(given[0])); };
  size_t best = 0;
  Value best_key = key(items[0]);
  for (size_t i = 1; i < items.size(); ++i) {
    Value other = key(items[i]);
    if (ordered(other, best_key, order)) best = i, best_key = std::move(other);
  }
  return items[best];
}

}  // namespace

Value sorted(Budget&, const Value& value, const Value* given) {
  const std::vector<Path> paths = paths_of(given[2]);
  std::vector<Keyed> keyed;
  for (Value& item : items_of(value)) {
    Keyed each;
    for (const Path& path : paths) each.keys.push_back(sort_key(path.of(item), is_true(given[1])));
    each.item = std::move(item);
    keyed.push_back(std::move(each));
  }
  return Value::list(in_order(std::move(keyed), is_true(given[0])));
}

Value sorted_items(Budget&, const Value& value, const Value* given) {
  const bool by_key = given[1].is(Kind::absent) || (given[1].is(Kind::text) && given[1].str() == "key");
  if (!by_key && !(given[1].is(Kind::text) && given[1].str() == "value"))
    fail_unknown("You can only sort by either \"key\" or \"value\"");
  if (value.is(Kind::undefined)) fail_undefined(value);
  if (!value.is(Kind::dict)) fail("'" + type_name(value) + "' object has no attribute 'items'");
  std::vector<Keyed> keyed;
  for (const Dict::Item& item : value.dict().items())
    keyed.push_back({{sort_key(by_key ? item.first : item.second, is_true(given[0]))}, Value::tuple({item.first, item.second})});
  return Value::list(in_order(std::move(keyed), is_true(given[2])));
}

Value unique(Budget&, const Value& value, const Value* given) {
  const Path path(given[1]);
  std::unordered_set<std::string> seen;
  std::vector<Value> items;
  for (Value& item : items_of(value)) {
    const Value key = sort_key(path.of(item), is_true(given[0]));
    if (!key.is(Kind::text)) beyond("the filter unique of other values than texts");
    if (seen.insert(key.str()).second) items.push_back(std::move(item));
  }
  return {Kind::list, std::make_shared<List>(std::move(items), List::Form::once)};
}

Value smallest(Budget&, const Value& value, const Value* given) { return outermost(value, given, Order::less); }
Value largest(Budget&, const Value& value, const Value* given) { return outermost(value, given, Order::greater); }

}  // namespace q3e::chat
