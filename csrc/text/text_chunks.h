// Where a text may be cut so that encoding the parts gives the ids of the whole. That keeps the memory of an encode bounded by
// the longest word instead of the whole text.
#pragma once

#include <cstddef>
#include <string_view>

namespace q3e {

class TextChunks {
 public:
  // A chunk ends at the first cut after this many characters.
  static constexpr size_t kCharacters = 16 * 1024;

  // More characters than this without any place to cut are refused: what they take is in no plan.
  static constexpr size_t kMostWordCharacters = 64 * 1024;

  // text: UTF-8, perhaps with marks of `Tokenizer::protect`. characters: at least 1 and at most kMostWordCharacters.
  explicit TextChunks(std::string_view text, size_t characters = kCharacters) : rest_(text), characters_(characters) {}

  // The next part, each small unless it is one long word; empty after the last. Throws Error(bad_argument) for a word of more
  // than kMostWordCharacters.
  std::string_view next();

 private:
  std::string_view take(size_t nbytes);

  std::string_view rest_;
  size_t characters_;
  size_t before_ = 0;  // characters
};

}  // namespace q3e
