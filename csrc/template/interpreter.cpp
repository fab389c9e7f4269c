#include "template/interpreter.h"

#include <algorithm>
#include <string_view>
#include <unordered_map>

#include "template/characters.h"
#include "template/compare.h"
#include "template/failure.h"
#include "template/iteration.h"
#include "template/written.h"

namespace q3e::chat {
namespace {

constexpr std::pair<const char*, Function> kFunctions[] = {
    {"namespace", Function::make_namespace},  {"dict", Function::make_dict},
    {"range", Function::make_range},          {"raise_exception", Function::raise_exception},
    {"strftime_now", Function::strftime_now},
};

}  // namespace

void Interpreter::Scope::set(uint32_t name, Value value) {
  for (auto& [known, old] : values)
    if (known == name) return void(old = std::move(value));
  values.emplace_back(name, std::move(value));
}

Interpreter::Interpreter(const Tree& tree, const Variables& variables, uint64_t most) : tree_(tree) {
  std::unordered_map<std::string_view, uint32_t> names;
  for (uint32_t i = 0; i < tree.string_count(); ++i) names.emplace(tree.name(i), i);
  for (const uint32_t name : tree.own_names()) names.erase(tree.name(name));
  const auto define = [&](std::string_view name, Value value) {
    const auto found = names.find(name);
    if (found != names.end()) globals_.set(found->second, std::move(value));
  };
  for (const auto& [name, function] : kFunctions) define(name, Value(function));
  for (const auto& [name, value] : variables) define(name, value);
  root_.around = &globals_;
  output_.most = std::min(most, kMostCharacters);
}

Interpreter::~Interpreter() {
  for (const auto& space : spaces_) space->values.clear();
  for (const auto& loop : loops_) loop->clear();
}

std::string Interpreter::run() {
  run_block(tree_.root(), root_);
  return std::move(output_.text);
}

Interpreter::Flow Interpreter::run_block(const Node& block, Scope& scope) {
  for (const Node& statement : block.kids)
    if (const Flow flow = run(statement, scope); flow != Flow::next) return flow;
  return Flow::next;
}

Interpreter::Flow Interpreter::run(const Node& statement, Scope& scope) {
  const Level level(depth_);
  switch (statement.kind) {
    case NodeKind::text:
      put(statement.value);
      return Flow::next;
    case NodeKind::print:
      put(as_text(budget_.charge(evaluate(statement.kids[0], scope))));
      return Flow::next;
    case NodeKind::choice:
      for (const Node& branch : statement.kids)
        if (branch.kids[0].kind == NodeKind::absent || is_true(evaluate(branch.kids[0], scope)))
          return run_block(branch.kids[1], scope);
      return Flow::next;
    case NodeKind::loop:
      return run_loop(statement, scope);
    case NodeKind::set:
      assign(statement.kids[0], evaluate(statement.kids[1], scope), scope);
      return Flow::next;
    case NodeKind::set_block:
      run_set_block(statement, scope);
      return Flow::next;
    case NodeKind::macro:
      scope.set(statement.name, Value(&statement));
      return Flow::next;
    case NodeKind::scope: {
      Scope inner;
      inner.around = &scope;
      return run_block(statement.kids[0], inner);
    }
    case NodeKind::leave:
      return Flow::leave;
    default:
      return Flow::again;
  }
}

Interpreter::Flow Interpreter::run_loop(const Node& node, Scope& scope) {
  const Node &target = node.kids[0], &test = node.kids[2];
  Loop::Test passes;
  if (test.kind != NodeKind::absent)
    passes = [&](const Value& item) {
      Scope inner;
      inner.around = &scope;
      assign(target, item, inner);
      return is_true(evaluate(test, inner));
    };
  const auto loop = std::make_shared<Loop>(evaluate(node.kids[1], scope), std::move(passes));
  struct End {
    ~End() { loop.end(); }  // the test knows this function's variables
    Loop& loop;
  } end{*loop};
  bool empty = true;
  while (loop->next()) {
    empty = false;
    budget_.step(1);
    Scope inner;
    inner.around = &scope;
    inner.values.emplace_back(node.name, Value(Kind::loop, loop));
    assign(target, loop->current(), inner);
    if (run_block(node.kids[3], inner) == Flow::leave) break;
  }
  if (loop.use_count() > 1) loops_.push_back(loop);
  if (!empty) return Flow::next;
  Scope inner;
  inner.around = &scope;
  return run_block(node.kids[4], inner);
}

void Interpreter::run_set_block(const Node& node, Scope& scope) {
  Scope inner;
  inner.around = &scope;
  captures_.push_back(Value::text(captured(node.kids[2], inner)));
  Value value = evaluate(node.kids[1], scope);
  captures_.pop_back();
  assign(node.kids[0], std::move(value), scope);
}

std::string Interpreter::captured(const Node& block, Scope& scope) {
  Output output;
  struct Back {
    ~Back() { place = before; }
    Output*& place;
    Output* before;
  } back{out_, out_};
  out_ = &output;
  run_block(block, scope);
  return std::move(output.text);
}

void Interpreter::put(const Value& value) {
  out_->characters += value.text().characters;
  check_characters(out_->characters, out_->most);
  out_->text += value.str();
}

void Interpreter::assign(const Node& target, Value value, Scope& scope) {
  if (target.kind == NodeKind::to_name) return scope.set(target.name, std::move(value));
  if (target.kind == NodeKind::to_attribute) {
    const Value space = look_up(target.name, scope);
    if (!space.is(Kind::space)) fail_unknown("cannot assign attribute on non-namespace object");
    const std::string& name = target.value.str();
    if (name.starts_with('_')) fail_unknown("a namespace has no attributes that begin with an underscore, such as " + name);
    space.space().values[name] = std::move(value);
    return;
  }
  if (!is_iterable(value)) fail("cannot unpack non-iterable " + type_name(value) + " object");
  std::vector<Value> items = items_of(std::move(value));
  const std::string expected = std::to_string(target.kids.size());
  if (items.size() > target.kids.size()) fail("too many values to unpack (expected " + expected + ")");
  if (items.size() < target.kids.size())
    fail("not enough values to unpack (expected " + expected + ", got " + std::to_string(items.size()) + ")");
  for (size_t i = 0; i < items.size(); ++i) assign(target.kids[i], std::move(items[i]), scope);
}

Value Interpreter::look_up(uint32_t name, const Scope& scope) const {
  for (const Scope* at = &scope; at; at = at->around)
    for (const auto& [known, value] : at->values)
      if (known == name) return value;
  return Value::undefined(represented(tree_.name(name)) + " is undefined");
}

}  // namespace q3e::chat
