// The items of values, and what values cannot be.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "template/value.h"

namespace q3e::chat {

// All that a loop meets. What is read once is taken. Throws Failure for what has no items.
std::vector<Value> items_of(Value value);
size_t length_of(const Value& value);  // throws Failure for what has none
bool has_length(const Value& value);
bool is_iterable(const Value& value);

[[noreturn]] void fail_undefined(const Value& value);  // what Jinja says when an undefined value is used
void require_hashable(const Value& value);

}  // namespace q3e::chat
