// The names of added tokens, found in texts.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "text/bpe.h"

namespace q3e {

// Sets of names.
using NameKinds = uint8_t;
inline constexpr NameKinds kControlNames = 1;                       // `<|im_end|>`
inline constexpr NameKinds kTagNames = 2;                           // `<think>`: of the others those that structure a text
inline constexpr NameKinds kWordNames = 4;                          // that somebody added
inline constexpr NameKinds kMarkNames = kControlNames | kTagNames;  // which are not text
inline constexpr NameKinds kAllNames = kMarkNames | kWordNames;

class TokenNames {
 public:
  // Keeps views of the texts.
  explicit TokenNames(std::span<const Bpe::Added> added);

  struct Found {
    size_t at;  // in the text
    std::string_view name;
    uint32_t id;
  };
  // The first name of these kinds at or after a byte of a text; of several that begin there the longest. In O(n) names' lengths.
  std::optional<Found> find(std::string_view text, size_t from, NameKinds kinds) const;

  // Whether a mark's name begins with all of this and goes on.
  bool begins_mark(std::string_view text) const;

  size_t longest_mark() const { return longest_mark_; }  // bytes

  // Ids, ascending.
  std::vector<uint32_t> ids(NameKinds kinds) const;

 private:
  struct Name {
    std::string_view text;
    uint32_t id;
    NameKinds kind;
  };
  const Name* longest(std::string_view text, NameKinds kinds) const;

  std::vector<Name> names_;  // sorted by their bytes
  std::array<NameKinds, 256> first_bytes_{};
  size_t longest_mark_ = 0;
};

}  // namespace q3e
