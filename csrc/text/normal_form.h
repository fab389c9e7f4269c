// Unicode's normal form C, as the `tokenizers` library makes it.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace q3e {

// Bytes at the beginning of a text that are in normal form C for sure, up to all of them; what follows may be as well. text:
// UTF-8, as everywhere here.
size_t normal_prefix(std::string_view text);

// Appends the normal form. In O(n log n), whatever the text.
void append_normal(std::string_view text, std::string& out);

}  // namespace q3e
