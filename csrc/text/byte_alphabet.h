// GPT-2's byte-level alphabet: every byte as one printable character, the way vocabularies store tokens.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace q3e {

// The character of a byte, as UTF-8.
std::string byte_character(uint8_t byte);

// Appends the bytes that a stored token stands for; false, with nothing appended, if a character is outside the alphabet.
// The token is UTF-8.
bool append_token_bytes(std::string_view token, std::string& out);

}  // namespace q3e
