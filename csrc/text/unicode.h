// What tokenizers need to know of Unicode's characters. The tables are those of the `tokenizers` library, whatever edition of
// Unicode that has: scripts/unicode_tables.py reads them out of it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace q3e {

// As the patterns of pre-tokenizers tell them apart: \p{L}, \p{M}, \p{N}, [\r\n], and \s without these two.
enum class CharClass : uint8_t { other, letter, mark, number, space, line_break };

// What all code points of a kind have in common.
struct CharKind {
  CharClass char_class;
  uint8_t combining;  // canonical combining class; 0: a starter
  bool stable;        // normal form C leaves it as it is, and nothing before it ever joins with it
};

namespace unicode {

// Two levels: the block of a code point, then its kind.
inline constexpr uint32_t kBlockBits = 7;
inline constexpr uint32_t kBlockMask = (1u << kBlockBits) - 1;
inline constexpr uint32_t kCodePoints = 0x110000;
extern const uint8_t kBlocks[kCodePoints >> kBlockBits];
extern const uint8_t kKindOf[];  // [blocks, 1 << kBlockBits]: of kKinds
extern const CharKind kKinds[];

// What decomposes, but for Hangul, in the order of code points: code << 42 | first << 21 | second, of which the first may
// decompose further; second: 0 where there is none.
inline constexpr uint32_t kCodeBits = 21;
extern const uint64_t kDecompositions[];
extern const size_t kDecompositionCount;
// Those of kDecompositions that also compose, in the order of (first, second).
extern const uint16_t kCompositions[];
extern const size_t kCompositionCount;

}  // namespace unicode

// code: below 0x110000.
inline const CharKind& char_kind(uint32_t code) {
  const uint32_t block = unicode::kBlocks[code >> unicode::kBlockBits];
  return unicode::kKinds[unicode::kKindOf[block << unicode::kBlockBits | (code & unicode::kBlockMask)]];
}

}  // namespace q3e
