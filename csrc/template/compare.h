// Truth, equality, order and membership, as Python has them.
#pragma once

#include "template/value.h"

namespace q3e::chat {

bool is_true(const Value& value);
bool equals(const Value& a, const Value& b);
bool is_number(const Value& value);  // bool included
// a < b, b < a ...: sign is below, at or above zero; of NaN there is none. Throws Failure for kinds without an order. `sign` of
// the message: "<".
enum class Order : uint8_t { less, less_or_equal, greater, greater_or_equal };
bool ordered(const Value& a, const Value& b, Order order);
bool contains(const Value& whole, const Value& part);  // part in whole

}  // namespace q3e::chat
