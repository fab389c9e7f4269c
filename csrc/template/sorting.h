// The filters that bring items into an order.
#pragma once

#include "template/budget.h"
#include "template/value.h"

namespace q3e::chat {

Value sorted(Budget& budget, const Value& value, const Value* given);        // reverse, case_sensitive, attribute
Value sorted_items(Budget& budget, const Value& value, const Value* given);  // case_sensitive, by, reverse
Value unique(Budget& budget, const Value& value, const Value* given);        // case_sensitive, attribute
Value smallest(Budget& budget, const Value& value, const Value* given);      // case_sensitive, attribute
Value largest(Budget& budget, const Value& value, const Value* given);

}  // namespace q3e::chat
