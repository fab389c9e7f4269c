// Methods of values.
#pragma once

#include "template/arguments.h"
#include "template/budget.h"
#include "template/value.h"

namespace q3e::chat {

// Throws Failure as Python does; Error(unsupported_model) for a method that is not known here.
Value call_method(Budget& budget, const Method& method, const Arguments& arguments);

}  // namespace q3e::chat
