// Jinja's filters and tests, by name. docs/format.md lists them with their arguments: qwen3edge/templates/syntax_tree.py puts
// arguments in their places, absent where none is passed.
#pragma once

#include <cstddef>
#include <string_view>

#include "template/budget.h"
#include "template/value.h"

namespace q3e::chat {

struct Filter {
  std::string_view name;
  size_t places;  // of arguments
  Value (*run)(Budget& budget, const Value& value, const Value* arguments);
  bool reads;  // what it is given, all of it: that is counted
};
const Filter* find_filter(std::string_view name);  // null for an unknown one
// With what it reads and makes counted.
Value apply(const Filter& filter, Budget& budget, const Value& value, const Value* arguments);

struct Test {
  std::string_view name;
  size_t places;
  bool (*run)(const Value& value, const Value* arguments);
};
const Test* find_test(std::string_view name);

}  // namespace q3e::chat
