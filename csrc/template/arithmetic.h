// Jinja's operators on values.
#pragma once

#include "template/budget.h"
#include "template/value.h"

namespace q3e::chat {

enum class Operator : uint8_t { add, subtract, multiply, divide, floor_divide, modulo };

// Throws Failure as Python does; Error(unsupported_model) for numbers beyond 64 bits and formats with %.
Value computed(Operator op, const Value& a, const Value& b);
Value negated(const Value& value);
Value with_sign(const Value& value);  // +value

}  // namespace q3e::chat
