#include "text/normal_form.h"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

#include "text/unicode.h"
#include "text/utf8.h"

namespace q3e {
namespace {

constexpr uint32_t kCodeMask = (1u << unicode::kCodeBits) - 1;

// Hangul's syllables follow a rule: a leading consonant and a vowel, perhaps a trailing consonant.
constexpr uint32_t kSyllables = 0xac00, kLeading = 0x1100, kVowels = 0x1161, kTrailing = 0x11a7;
constexpr uint32_t kLeadingCount = 19, kVowelCount = 21, kTrailingCount = 28;
constexpr uint32_t kSyllableCount = kLeadingCount * kVowelCount * kTrailingCount;

// A code point of a text while it is normalized.
struct Part {
  uint32_t code : 24;
  uint32_t combining : 8;
};

void decompose(uint32_t code, std::vector<Part>& out) {
  if (code - kSyllables < kSyllableCount) {
    const uint32_t index = code - kSyllables, trailing = index % kTrailingCount;
    decompose(kLeading + index / (kVowelCount * kTrailingCount), out);
    decompose(kVowels + index / kTrailingCount % kVowelCount, out);
    if (trailing > 0) decompose(kTrailing + trailing, out);
    return;
  }
  const uint64_t key = uint64_t{code} << 2 * unicode::kCodeBits;
  const uint64_t* const end = unicode::kDecompositions + unicode::kDecompositionCount;
  const uint64_t* const found = std::lower_bound(unicode::kDecompositions, end, key);
  if (found == end || *found >> 2 * unicode::kCodeBits != code) {
    out.push_back({code, char_kind(code).combining});
    return;
  }
  decompose(static_cast<uint32_t>(*found >> unicode::kCodeBits) & kCodeMask, out);
  if (const uint32_t second = static_cast<uint32_t>(*found) & kCodeMask) decompose(second, out);
}

std::optional<uint32_t> composed(uint32_t first, uint32_t second) {
  if (first - kLeading < kLeadingCount && second - kVowels < kVowelCount)
    return kSyllables + ((first - kLeading) * kVowelCount + (second - kVowels)) * kTrailingCount;
  if (first - kSyllables < kSyllableCount && (first - kSyllables) % kTrailingCount == 0 && second > kTrailing &&
      second - kTrailing < kTrailingCount)
    return first + (second - kTrailing);
  constexpr uint64_t kPair = (uint64_t{1} << 2 * unicode::kCodeBits) - 1;
  const uint64_t wanted = uint64_t{first} << unicode::kCodeBits | second;
  const auto pair = [](uint16_t index) { return unicode::kDecompositions[index] & kPair; };
  const uint16_t* const end = unicode::kCompositions + unicode::kCompositionCount;
  const uint16_t* const found = std::lower_bound(unicode::kCompositions, end, wanted,
                                                 [&](uint16_t index, uint64_t sought) { return pair(index) < sought; });
  if (found == end || pair(*found) != wanted) return std::nullopt;
  return static_cast<uint32_t>(unicode::kDecompositions[*found] >> 2 * unicode::kCodeBits);
}

// Marks that stand behind one starter, in the order of their classes.
void sort_marks(std::vector<Part>& parts) {
  for (auto begin = parts.begin(); begin != parts.end();) {
    const auto end = std::find_if(begin, parts.end(), [](Part part) { return part.combining == 0; });
    if (begin == end) {
      ++begin;
      continue;
    }
    std::stable_sort(begin, end, [](Part a, Part b) { return a.combining < b.combining; });
    begin = end;
  }
}

void compose(std::vector<Part>& parts) {
  size_t kept = 0;
  std::optional<size_t> starter;
  uint32_t last = 0;  // the combining class of the part before, 0: that is the starter
  for (const Part part : parts) {
    if (starter && (kept == *starter + 1 || last < part.combining))
      if (const std::optional<uint32_t> whole = composed(parts[*starter].code, part.code)) {
        parts[*starter].code = *whole;
        continue;
      }
    if (part.combining == 0) starter = kept;
    last = part.combining;
    parts[kept++] = part;
  }
  parts.resize(kept);
}

// A stretch of text that no character outside of it changes: from one stable starter to before the next one.
struct Stretch {
  size_t nbytes;
  bool normal;  // for sure
};

Stretch first_stretch(std::string_view text) {
  Stretch stretch{0, true};
  uint32_t last = 0;
  while (stretch.nbytes < text.size()) {
    const Utf8Char c = utf8_char(text.data() + stretch.nbytes);
    const CharKind& kind = char_kind(c.code);
    if (stretch.nbytes > 0 && kind.stable && kind.combining == 0) break;
    if (!kind.stable || (kind.combining != 0 && kind.combining < last)) stretch.normal = false;
    last = kind.combining;
    stretch.nbytes += c.nbytes;
  }
  return stretch;
}

}  // namespace

size_t normal_prefix(std::string_view text) {
  size_t at = 0;
  while (at < text.size()) {
    // Of two ASCII characters the first is a stretch of its own.
    while (at + 1 < text.size() && static_cast<uint8_t>(text[at] | text[at + 1]) < 0x80) ++at;
    const Stretch stretch = first_stretch(text.substr(at));
    if (!stretch.normal) break;
    at += stretch.nbytes;
  }
  return at;
}

void append_normal(std::string_view text, std::string& out) {
  std::vector<Part> parts;
  for (;;) {
    const size_t normal = normal_prefix(text);
    out += text.substr(0, normal);
    text.remove_prefix(normal);
    if (text.empty()) return;
    const size_t nbytes = first_stretch(text).nbytes;
    parts.clear();
    for (size_t at = 0; at < nbytes;) {
      const Utf8Char c = utf8_char(text.data() + at);
      decompose(c.code, parts);
      at += c.nbytes;
    }
    sort_marks(parts);
    compose(parts);
    for (const Part part : parts) append_utf8(part.code, out);
    text.remove_prefix(nbytes);
  }
}

}  // namespace q3e
