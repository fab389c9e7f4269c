// From a stored token to its id: needed while a vocabulary is built, and given back afterwards.
#pragma once

#include <bit>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "text/hash.h"

namespace q3e {

inline constexpr uint32_t kNoToken = UINT32_MAX;

// Slots for so many entries at a load of at most 2/3, a power of two.
inline uint64_t hash_slots(uint64_t entries) { return std::bit_ceil(entries + entries / 2 + 16); }

class TokenIndex {
 public:
  explicit TokenIndex(std::span<const std::string_view> tokens)
      : tokens_(tokens), mask_(hash_slots(tokens.size()) - 1), slots_(std::make_unique<uint64_t[]>(mask_ + 1)) {}

  // False, and nothing changed, if the text of this id is there already.
  bool insert(uint32_t id) {
    const uint64_t hash = hash_text(tokens_[id], seed_);
    uint64_t at = hash & mask_;
    for (; slots_[at] != 0; at = (at + 1) & mask_)
      if (holds(slots_[at], hash, tokens_[id])) return false;
    slots_[at] = (hash & kTag) | (uint64_t{id} + 1);
    return true;
  }

  uint32_t find(std::string_view text) const { return find(text, hash(text)); }
  uint64_t hash(std::string_view text) const { return hash_text(text, seed_); }
  void prefetch(uint64_t hash) const { __builtin_prefetch(&slots_[hash & mask_]); }

  // kNoToken if it is absent.
  uint32_t find(std::string_view text, uint64_t hash) const {
    for (uint64_t at = hash & mask_; slots_[at] != 0; at = (at + 1) & mask_)
      if (holds(slots_[at], hash, text)) return static_cast<uint32_t>(slots_[at]) - 1;
    return kNoToken;
  }

 private:
  static constexpr uint64_t kTag = 0xffffffff00000000u;  // of a slot: the hash's upper half; the lower one is id + 1, 0: free

  bool holds(uint64_t slot, uint64_t hash, std::string_view text) const {
    return ((slot ^ hash) & kTag) == 0 && tokens_[static_cast<uint32_t>(slot) - 1] == text;
  }

  std::span<const std::string_view> tokens_;
  uint64_t mask_;
  uint64_t seed_ = hash_seed();
  std::unique_ptr<uint64_t[]> slots_;  // [mask_ + 1]
};

}  // namespace q3e
