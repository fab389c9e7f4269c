// JSON texts as values that templates read.
#pragma once

#include <string>
#include <string_view>

#include "template/value.h"

namespace q3e::chat {

// text: UTF-8. Of a key that comes twice the last value counts. Throws Error(bad_argument), which begins with `name`, for what is
// no JSON (RFC 8259) within JsonScanner's bounds.
Value parsed_json(std::string_view text, const std::string& name);

}  // namespace q3e::chat
