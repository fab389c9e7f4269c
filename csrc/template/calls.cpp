// What Interpreter's templates call.
#include <ctime>

#include "template/characters.h"
#include "template/failure.h"
#include "template/interpreter.h"
#include "template/iteration.h"
#include "template/methods.h"
#include "template/written.h"

namespace q3e::chat {
namespace {

constexpr size_t kMostPattern = 256;  // characters

Value make_range(const Arguments& arguments) {
  static constexpr const char* kNames[] = {"", "", ""};
  Value given[3];
  arguments.take("range", kNames, given, 1);
  int64_t bounds[3] = {0, 0, 1};  // from, to, by
  for (size_t i = 0; i < arguments.places.size(); ++i) {
    if (given[i].is(Kind::large)) beyond("integers beyond 64 bits");
    if (!given[i].is(Kind::integer) && !given[i].is(Kind::boolean))
      fail("'" + type_name(given[i]) + "' object cannot be interpreted as an integer");
    bounds[i] = given[i].integer();
  }
  if (arguments.places.size() == 1) std::swap(bounds[0], bounds[1]);
  const auto [from, to, by] = bounds;
  if (by == 0) fail("range() arg 3 must not be zero");
  std::vector<Value> items;
  for (int64_t at = from; by > 0 ? at < to : at > to;) {
    items.emplace_back(at);
    if (items.size() > kMostItems) fail("Range too big. The sandbox blocks ranges larger than MAX_RANGE (100000).");
    if (__builtin_add_overflow(at, by, &at)) break;
  }
  return {Kind::list, std::make_shared<List>(std::move(items), List::Form::range)};
}

Value now(const Arguments& arguments) {
  static constexpr const char* kNames[] = {"pattern"};
  Value given[1];
  arguments.take("strftime_now", kNames, given, 1);
  const Value pattern = as_text(given[0]);
  if (pattern.text().characters > kMostPattern) fail_unknown("pattern out of bounds");
  const std::string& text = pattern.str();
  // Python's own conversions, and those that differ between systems.
  for (size_t at = 0; (at = text.find('%', at)) != std::string::npos; at += 2)
    if (at + 1 >= text.size() || std::string_view("aAbBcdHIjmMpSUwWxXyY%").find(text[at + 1]) == std::string_view::npos)
      beyond("such a pattern of strftime_now");
  if (text.empty()) return pattern;
  const std::time_t seconds = std::time(nullptr);
  std::tm parts{};
  localtime_r(&seconds, &parts);
  std::string out(16 * 1024, '\0');
  out.resize(std::strftime(out.data(), out.size(), text.c_str(), &parts));
  return Value::text(std::move(out));
}

}  // namespace

Value Interpreter::call(const Node& node, Scope& scope) {
  const Value called = evaluate(node.kids[0], scope);
  Arguments arguments;
  for (size_t i = 1; i < node.kids.size(); ++i) {
    const Node& kid = node.kids[i];
    if (kid.kind == NodeKind::argument)
      arguments.named.emplace_back(tree_.name(kid.name), evaluate(kid.kids[0], scope));
    else
      arguments.places.push_back(evaluate(kid, scope));
  }
  switch (called.kind()) {
    case Kind::undefined:
      fail_undefined(called);
    case Kind::method:
      return budget_.charge(call_method(budget_, called.method(), arguments));
    case Kind::macro:
      return budget_.charge(call_macro(*called.macro(), arguments));
    case Kind::function:
      return budget_.charge(call_function(called.function(), arguments));
    default:
      fail("'" + type_name(called) + "' object is not callable");
  }
}

Value Interpreter::call_macro(const Node& macro, const Arguments& arguments) {
  const size_t count = macro.kids.size() - 1;
  const auto parameter = [&](size_t i) -> const Node& { return macro.kids[i + 1]; };
  const std::string name = represented(tree_.name(macro.name));
  Scope scope;
  scope.around = &root_;
  std::vector<bool> given(count);
  for (size_t i = 0; i < count && i < arguments.places.size(); ++i) {
    scope.set(parameter(i).name, arguments.places[i]);
    given[i] = true;
  }
  for (const auto& [passed, value] : arguments.named) {
    size_t i = 0;
    while (i < count && (given[i] || tree_.name(parameter(i).name) != passed)) ++i;
    if (i == count) fail("macro " + name + " takes no keyword argument " + represented(passed));
    scope.set(parameter(i).name, value);
    given[i] = true;
  }
  if (arguments.places.size() > count) fail("macro " + name + " takes not more than " + std::to_string(count) + " argument(s)");
  for (size_t i = 0; i < count; ++i) {
    if (given[i]) continue;
    const Node& fallback = parameter(i).kids[0];
    scope.set(parameter(i).name,
              fallback.kind == NodeKind::absent
                  ? Value::undefined("parameter " + represented(tree_.name(parameter(i).name)) + " was not provided")
                  : evaluate(fallback, scope));
  }
  budget_.step(kMacroSteps);
  return Value::text(captured(macro.kids[0], scope));
}

Value Interpreter::call_function(Function function, const Arguments& arguments) {
  switch (function) {
    case Function::make_namespace: {
      if (!arguments.places.empty()) beyond("a namespace of another value");
      const auto space = std::make_shared<Namespace>();
      for (const auto& [name, value] : arguments.named) {
        if (name.starts_with('_')) fail_unknown("a namespace has no attributes that begin with an underscore, such as " + name);
        space->values[name] = value;
      }
      spaces_.push_back(space);
      return {Kind::space, space};
    }
    case Function::make_dict: {
      if (!arguments.places.empty()) beyond("a dict of another value");
      std::vector<Dict::Item> items;
      for (const auto& [name, value] : arguments.named) items.emplace_back(Value::text(name), value);
      return {Kind::dict, std::make_shared<Dict>(std::move(items))};
    }
    case Function::make_range:
      return make_range(arguments);
    case Function::raise_exception: {
      static constexpr const char* kNames[] = {"message"};
      Value given[1];
      arguments.take("raise_exception", kNames, given, 1);
      throw Failure("the chat template refuses the messages: " + written(given[0]));
    }
    default:
      return now(arguments);
  }
}

}  // namespace q3e::chat
