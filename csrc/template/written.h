// Values as texts: Python's str(), repr() and names of types.
#pragma once

#include <string>
#include <string_view>

#include "template/value.h"

namespace q3e::chat {

std::string type_name(const Value& value);
std::string written(const Value& value);  // str(value)
std::string represented(const Value& value);
std::string represented(std::string_view text);
std::string represented(double number);
// A value where a text is wanted, without a copy of one that is.
Value as_text(const Value& value);

}  // namespace q3e::chat
