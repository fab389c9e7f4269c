// The filter `tojson`: json.dumps of Python's, as qwen3edge/templates/filters.py calls it.
#pragma once

#include <optional>
#include <string>

#include "template/value.h"

namespace q3e::chat {

struct JsonStyle {
  bool ascii = false;  // other characters are escaped, but for the marks of protected texts
  bool sorted = false;
  std::optional<std::string> indent;  // of a level; none: all in one line
  std::string item_separator = ", ", key_separator = ": ";
};

// Throws Failure for what has no JSON form, and for more than a text may have.
std::string json_text(const Value& value, const JsonStyle& style);

}  // namespace q3e::chat
