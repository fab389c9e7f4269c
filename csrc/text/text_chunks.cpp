#include "text/text_chunks.h"

#include <cstdint>
#include <string>

#include "base/error.h"
#include "text/tokenizer.h"
#include "text/unicode.h"
#include "text/utf8.h"

namespace q3e {
namespace {

bool is_blank(uint32_t code) {
  const CharClass found = char_kind(code).char_class;
  return found == CharClass::space || found == CharClass::line_break;
}

bool in(uint32_t code, uint32_t low, uint32_t high) { return code >= low && code <= high; }

// Whether a word surely ends between two characters: before a space or tab (no pattern goes on from other characters into
// them), after the last line break of a run, after every digit, and between a Chinese, Japanese or Korean letter and the
// punctuation behind it. None of the second ones is a character that Unicode normalization joins with what stands before it.
bool may_cut(uint32_t first, uint32_t second) {
  if (first == Tokenizer::kPlainMarkCode || second == Tokenizer::kPlainMarkCode) return false;  // what will be beside it?
  if (second == ' ' || second == '\t') return !is_blank(first);
  if (first == '\r' || first == '\n') return !is_blank(second);
  if (in(first, '0', '9')) return in(second, '!', '~');
  const bool punctuation = second == 0x3001 || second == 0x3002 || second == 0xff0c || second == 0xff01 || second == 0xff1f;
  return punctuation &&
         (in(first, 0x4e00, 0x9fa5) || in(first, 0x3041, 0x3096) || in(first, 0x30a1, 0x30f6) || in(first, 0xac00, 0xd7a3));
}

// Where so many characters end, or the text does.
size_t after_characters(std::string_view text, size_t count) {
  size_t at = 0;
  for (; at < text.size(); ++at)
    if (!is_utf8_tail(text[at]) && count-- == 0) break;
  return at;
}

}  // namespace

std::string_view TextChunks::take(size_t nbytes) {
  const std::string_view chunk = rest_.substr(0, nbytes);
  rest_.remove_prefix(nbytes);
  before_ += utf8_length(chunk);
  return chunk;
}

std::string_view TextChunks::next() {
  if (rest_.size() <= characters_) return take(rest_.size());
  size_t at = after_characters(rest_, characters_ - 1);  // the first character that a chunk may end with
  if (at == rest_.size()) return take(at);
  Utf8Char last = utf8_char(rest_.data() + at);
  for (size_t count = characters_; at + last.nbytes < rest_.size(); ++count) {
    if (count == kMostWordCharacters)
      throw Error(Status::bad_argument, "expected text with a space or line break at least every " +
                                            std::to_string(kMostWordCharacters) + " characters, found none after character " +
                                            std::to_string(before_));
    at += last.nbytes;
    const Utf8Char following = utf8_char(rest_.data() + at);
    if (may_cut(last.code, following.code)) return take(at);
    last = following;
  }
  return take(rest_.size());
}

}  // namespace q3e
