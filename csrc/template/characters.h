// Texts as Python has them: characters are code points. Here they are UTF-8, a lone surrogate (such as the mark of a protected
// text) being three bytes that no UTF-8 has.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace q3e::chat {

bool is_text(std::string_view bytes);  // of this form

size_t count_characters(std::string_view text);
// Where a character begins; the text's size for one past the last.
size_t offset_of(std::string_view text, size_t character);
// The character at a byte, and where the next one begins; a text that is none is read to its end all the same.
uint32_t read_character(std::string_view text, size_t& at);
void append_character(uint32_t character, std::string& out);

bool is_surrogate(uint32_t character);
bool is_space(uint32_t character);       // as str.isspace
bool is_line_break(uint32_t character);  // as str.splitlines
bool is_ascii(std::string_view text);

enum class Side : uint8_t { left = 1, right = 2, both = 3 };
// Without blanks at the ends, or without any of these characters.
std::string_view stripped(std::string_view text, Side side);
std::string_view stripped(std::string_view text, Side side, std::string_view characters);

}  // namespace q3e::chat
