// What depends on Unicode's tables: capitals and what can be printed, as Python's str has it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace q3e::chat {

std::string upper(std::string_view text);
std::string lower(std::string_view text);  // throws Error(unsupported_model) for a capital sigma, whose form depends on its place
bool is_printable(uint32_t character);

}  // namespace q3e::chat
