// The expressions of Interpreter.
#include <algorithm>

#include "template/access.h"
#include "template/arithmetic.h"
#include "template/compare.h"
#include "template/failure.h"
#include "template/filters.h"
#include "template/interpreter.h"
#include "template/iteration.h"
#include "template/text_methods.h"
#include "template/written.h"

namespace q3e::chat {

Value Interpreter::evaluate(const Node& node, Scope& scope) {
  const Level level(depth_);
  const auto kid = [&](size_t i) { return evaluate(node.kids[i], scope); };
  switch (node.kind) {
    case NodeKind::none:
    case NodeKind::true_value:
    case NodeKind::false_value:
    case NodeKind::integer:
    case NodeKind::real:
    case NodeKind::string:
    case NodeKind::missing:
      return node.value;
    case NodeKind::name:
      return look_up(node.name, scope);
    case NodeKind::list:
      return budget_.charge(Value::list(all(node, 0, scope)));
    case NodeKind::tuple:
      return budget_.charge(Value::tuple(all(node, 0, scope)));
    case NodeKind::dict:
      return make_dict(node, scope);
    case NodeKind::condition:
      return is_true(kid(0)) ? kid(1) : kid(2);
    case NodeKind::filter: {
      const std::vector<Value> values = all(node, 0, scope);
      return apply(*node.filter, budget_, values[0], values.data() + 1);
    }
    case NodeKind::test: {
      const std::vector<Value> values = all(node, 0, scope);
      return Value(node.test->run(values[0], values.data() + 1));
    }
    case NodeKind::map_filter:
      return map_filter(node, scope);
    case NodeKind::choose:
      return choose(node, scope);
    case NodeKind::call:
      return call(node, scope);
    case NodeKind::attribute:
      return attribute_of(kid(0), node.value.str());
    case NodeKind::item: {
      const Value value = kid(0);
      return item_of(value, kid(1));
    }
    case NodeKind::slice: {
      const std::vector<Value> values = all(node, 0, scope);
      return budget_.charge(slice_of(values[0], values[1], values[2], values[3]));
    }
    case NodeKind::concatenation:
      return join(budget_, Value::text(""), all(node, 0, scope));
    case NodeKind::comparison:
      return compare(node, scope);
    case NodeKind::both: {
      Value value = kid(0);
      return is_true(value) ? kid(1) : value;
    }
    case NodeKind::either: {
      Value value = kid(0);
      return is_true(value) ? value : kid(1);
    }
    case NodeKind::negation:
      return Value(!is_true(kid(0)));
    case NodeKind::minus:
      return negated(kid(0));
    case NodeKind::plus:
      return with_sign(kid(0));
    case NodeKind::arithmetic: {
      const Value value = kid(0);
      return budget_.charge(computed(static_cast<Operator>(node.flag), value, kid(1)));
    }
    case NodeKind::captured:
      return captures_.back();
    default:
      return Value();  // an argument that is left out
  }
}

std::vector<Value> Interpreter::all(const Node& node, size_t from, Scope& scope) {
  std::vector<Value> values;
  values.reserve(node.kids.size() - from);
  for (size_t i = from; i < node.kids.size(); ++i) values.push_back(evaluate(node.kids[i], scope));
  return values;
}

Value Interpreter::make_dict(const Node& node, Scope& scope) {
  std::vector<Dict::Item> items;
  for (size_t i = 0; i < node.kids.size(); i += 2) items.emplace_back(node.kids[i].value, evaluate(node.kids[i + 1], scope));
  return budget_.charge(Value(Kind::dict, std::make_shared<Dict>(std::move(items))));
}

Value Interpreter::compare(const Node& node, Scope& scope) {
  Value left = evaluate(node.kids[0], scope);
  budget_.compare(left);
  bool holds = true;
  for (size_t i = 1; i < node.kids.size() && holds; ++i) {
    Value right = evaluate(node.kids[i].kids[0], scope);
    budget_.compare(right);
    switch (static_cast<Comparison>(node.kids[i].flag)) {
      case Comparison::equal:
        holds = equals(left, right);
        break;
      case Comparison::not_equal:
        holds = !equals(left, right);
        break;
      case Comparison::less:
        holds = ordered(left, right, Order::less);
        break;
      case Comparison::less_or_equal:
        holds = ordered(left, right, Order::less_or_equal);
        break;
      case Comparison::greater:
        holds = ordered(left, right, Order::greater);
        break;
      case Comparison::greater_or_equal:
        holds = ordered(left, right, Order::greater_or_equal);
        break;
      case Comparison::in:
        holds = contains(right, left);
        break;
      case Comparison::not_in:
        holds = !contains(right, left);
        break;
    }
    left = std::move(right);
  }
  return Value(holds);
}

Value Interpreter::map_filter(const Node& node, Scope& scope) {
  std::vector<Value> values = all(node, 0, scope);
  budget_.consume(values[0]);
  std::vector<Value> items = is_true(values[0]) ? items_of(values[0]) : std::vector<Value>();
  for (Value& item : items) item = apply(*node.filter, budget_, item, values.data() + 1);
  return budget_.charge(Value(Kind::list, std::make_shared<List>(std::move(items), List::Form::once)));
}

Value Interpreter::choose(const Node& node, Scope& scope) {
  const std::vector<Value> values = all(node, 0, scope);
  budget_.consume(values[0]);
  const Path path(values[1]);
  std::vector<Value> chosen;
  if (is_true(values[0]))
    for (const Value& item : items_of(values[0])) {
      const Value tested = path.of(item);
      const bool passed = node.test ? node.test->run(tested, values.data() + 2) : is_true(tested);
      if (passed == (node.flag == 0)) chosen.push_back(item);
    }
  return budget_.charge(Value(Kind::list, std::make_shared<List>(std::move(chosen), List::Form::once)));
}

}  // namespace q3e::chat
