// Methods of texts, and what filters share with them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "template/arguments.h"
#include "template/budget.h"
#include "template/value.h"

namespace q3e::chat {

// Throws Failure as Python does; Error(unsupported_model) for a method that is not known here.
Value call_of_text(Budget& budget, const Value& text, const std::string& name, const Arguments& arguments);

// separator.join(values), `~` and the filter: values that are no texts are written out.
Value join(Budget& budget, const Value& separator, const std::vector<Value>& values);
Value replaced(const Text& text, const std::string& old, const std::string& with, int64_t count);
std::vector<std::string_view> lines_of(std::string_view text, bool with_breaks = false);

}  // namespace q3e::chat
