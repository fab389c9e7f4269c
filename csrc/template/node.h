// A part of a template's syntax tree. docs/format.md has the bytes.
#pragma once

#include <cstdint>
#include <vector>

#include "template/value.h"

namespace q3e::chat {

struct Filter;
struct Test;

// The numbers stand in files.
enum class NodeKind : uint8_t {
  absent = 0,  // in place of an expression that is left out
  // Statements.
  text = 1,       // value
  print = 2,      // expression
  choice = 3,     // branches, the first whose test is true is run
  branch = 4,     // test, or absent, and a block
  loop = 5,       // target, sequence, test or absent, block, block of `else`
  set = 6,        // target, expression
  set_block = 7,  // target, expression of what was captured, block
  macro = 8,      // name; block, parameters
  parameter = 9,  // name; expression or absent
  scope = 10,     // block
  leave = 11,     // {% break %}
  again = 12,     // {% continue %}
  block = 13,     // statements
  // Targets.
  to_name = 16,       // name
  to_attribute = 17,  // name of the namespace, value: the attribute
  to_several = 18,    // targets
  // Expressions.
  none = 32,
  true_value = 33,
  false_value = 34,
  integer = 35,
  real = 36,
  string = 37,
  name = 38,
  list = 39,
  tuple = 40,
  dict = 41,       // keys (strings) and values by turns
  condition = 42,  // test, value, other value
  missing = 43,    // value: what is said of the undefined value
  filter = 44,     // value, arguments
  test = 45,       // value, arguments
  call = 46,       // what is called, arguments, named ones
  argument = 47,   // name; expression
  attribute = 48,  // value: the name; expression
  item = 49,       // value, key
  slice = 50,      // value, begin, end, step, the last three may be absent
  concatenation = 51,
  comparison = 52,  // expression, operands
  operand = 53,     // flag: of Comparison; expression
  both = 54,        // and
  either = 55,      // or
  negation = 56,    // not
  minus = 57,
  plus = 58,
  arithmetic = 59,  // flag: of Operator; two expressions
  captured = 60,    // what the block of a set_block put out
  map_filter = 61,  // value, arguments of the filter
  choose = 62,      // flag: 1 for those that fail the test; value, attribute or absent, arguments of the test, if there is one
};

enum class Comparison : uint8_t { equal, not_equal, less, less_or_equal, greater, greater_or_equal, in, not_in };

struct Node {
  NodeKind kind = NodeKind::absent;
  uint8_t flag = 0;
  uint32_t name = 0;  // of the tree's strings
  Value value;        // of a constant; of a loop or a test what its strings say
  union {
    const Filter* filter = nullptr;
    const Test* test;
  };
  std::vector<Node> kids;
};

}  // namespace q3e::chat
