#include "text/word_splitter.h"

#include <array>
#include <cstdint>
#include <utility>

#include "text/unicode.h"
#include "text/utf8.h"

namespace q3e {
namespace {

constexpr std::array<CharClass, 128> kAsciiClasses = [] {
  std::array<CharClass, 128> classes{};
  for (int c = 0; c < 128; ++c) {
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) classes[c] = CharClass::letter;
    if (c >= '0' && c <= '9') classes[c] = CharClass::number;
    if (c == ' ' || c == '\t' || c == '\v' || c == '\f') classes[c] = CharClass::space;
    if (c == '\r' || c == '\n') classes[c] = CharClass::line_break;
  }
  return classes;
}();

// Reads a text class by class. MarksJoin: marks count as letters, otherwise as others.
template <bool MarksJoin>
class Reader {
 public:
  explicit Reader(std::string_view text) : begin_(text.data()), end_(text.data() + text.size()) {}

  const char* end() const { return end_; }

  // The class of the character at a place that is not the end, and where that ends.
  std::pair<CharClass, const char*> read(const char* at) const {
    if (const auto byte = static_cast<uint8_t>(*at); byte < 128) return {kAsciiClasses[byte], at + 1};
    const Utf8Char c = utf8_char(at);
    CharClass found = char_kind(c.code).char_class;
    if (found == CharClass::mark) found = MarksJoin ? CharClass::letter : CharClass::other;
    return {found, at + c.nbytes};
  }

  // Where a run of this class ends.
  const char* skip(CharClass wanted, const char* at) const {
    while (at < end_) {
      const auto [found, next] = read(at);
      if (found != wanted) break;
      at = next;
    }
    return at;
  }

  const char* word() const {
    const auto [first, second] = read(begin_);
    switch (first) {
      case CharClass::letter:
        return skip(CharClass::letter, second);
      case CharClass::number:
        return second;
      case CharClass::space:
      case CharClass::line_break:
        return first == CharClass::space ? blank(second) : blanks();
      default:
        return other(second);
    }
  }

 private:
  // After one that is no line break: it joins the letters behind it, and a space other characters too.
  const char* blank(const char* second) const {
    if (second == end_) return second;
    const auto [found, third] = read(second);
    if (found == CharClass::letter) return skip(CharClass::letter, third);
    if (found == CharClass::other && *begin_ == ' ') return others(third);
    return blanks();
  }

  // Blanks up to the last line break among them; where there is none, all but the last one, which may join what follows.
  const char* blanks() const {
    const char *at = begin_, *last = begin_, *break_end = nullptr;
    while (at < end_) {
      const auto [found, next] = read(at);
      if (found != CharClass::space && found != CharClass::line_break) break;
      if (found == CharClass::line_break) break_end = next;
      last = at;
      at = next;
    }
    if (break_end) return break_end;
    return at == end_ || last == begin_ ? at : last;
  }

  // After one that is neither letter, number nor blank: it joins the letters behind it, unless an English ending begins.
  const char* other(const char* second) const {
    if (*begin_ == '\'')
      if (const char* const end = contraction(second)) return end;
    if (second == end_) return second;
    const auto [found, third] = read(second);
    return found == CharClass::letter ? skip(CharClass::letter, third) : others(second);
  }

  // Other characters, and the line breaks behind them.
  const char* others(const char* at) const { return skip(CharClass::line_break, skip(CharClass::other, at)); }

  // Where 's, 't, 're, 've, 'm, 'll or 'd ends, in any case; null: it is none. The long s is an s, too.
  const char* contraction(const char* at) const {
    const auto lower = [&](const char* p) { return p < end_ ? static_cast<char>(*p | 0x20) : '\0'; };
    const char first = lower(at);
    if (first == 's' || first == 't' || first == 'm' || first == 'd') return at + 1;
    if ((first == 'r' || first == 'v') && lower(at + 1) == 'e') return at + 2;
    if (first == 'l' && lower(at + 1) == 'l') return at + 2;
    constexpr std::string_view kLongS = "\xc5\xbf";
    return std::string_view(at, static_cast<size_t>(end_ - at)).starts_with(kLongS) ? at + kLongS.size() : nullptr;
  }

  const char* begin_;
  const char* end_;
};

template <bool MarksJoin>
std::string_view first_word_of(std::string_view text) {
  return text.substr(0, static_cast<size_t>(Reader<MarksJoin>(text).word() - text.data()));
}

}  // namespace

std::optional<WordSplitter> WordSplitter::find(std::string_view name) {
  if (name == "qwen2") return WordSplitter(false, true);
  if (name == "deepseek-r1-qwen") return WordSplitter(false, false);
  if (name == "qwen35") return WordSplitter(true, true);
  return std::nullopt;
}

std::string_view WordSplitter::first_word(std::string_view text) const {
  return marks_join_ ? first_word_of<true>(text) : first_word_of<false>(text);
}

}  // namespace q3e
