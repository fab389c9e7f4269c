// From a stored token to its id: needed while a vocabulary is built, and given back afterwards.
#pragma once

#include <sys/mman.h>

#include <bit>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
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
      : tokens_(tokens), mask_(hash_slots(tokens.size()) - 1), slots_(allocate(mask_ + 1)) {}

  uint64_t hash(std::string_view text) const { return hash_text(text, seed_); }

  // False, and nothing changed, if the text of this id is there already. hash: of that text.
  bool insert(uint32_t id, uint64_t hash) {
    uint64_t at = hash & mask_;
    for (; slots_[at] != 0; at = (at + 1) & mask_)
      if (holds(slots_[at], hash, tokens_[id])) return false;
    slots_[at] = (hash & kTag) | (uint64_t{id} + 1);
    return true;
  }

  // kNoToken if it is absent.
  uint32_t find(std::string_view text, uint64_t hash) const {
    for (uint64_t at = hash & mask_; slots_[at] != 0; at = (at + 1) & mask_)
      if (holds(slots_[at], hash, text)) return static_cast<uint32_t>(slots_[at]) - 1;
    return kNoToken;
  }
  uint32_t find(std::string_view text) const { return find(text, hash(text)); }

  // What `find` will read, one step after the other: whoever looks up many texts takes each step for all of them, so that the
  // waits for memory overlap.
  void prefetch_slot(uint64_t hash) const { __builtin_prefetch(&slots_[hash & mask_]); }
  void prefetch_token(uint64_t hash) const {
    if (const std::string_view* token = likely(hash)) __builtin_prefetch(token);
  }
  void prefetch_text(uint64_t hash) const {
    if (const std::string_view* token = likely(hash)) __builtin_prefetch(token->data());
  }

 private:
  static constexpr uint64_t kTag = 0xffffffff00000000u;  // of a slot: the hash's upper half; the lower one is id + 1, 0: free

  bool holds(uint64_t slot, uint64_t hash, std::string_view text) const {
    return ((slot ^ hash) & kTag) == 0 && tokens_[static_cast<uint32_t>(slot) - 1] == text;
  }

  // The first token with the same tag, null if there is none.
  const std::string_view* likely(uint64_t hash) const {
    for (uint64_t at = hash & mask_; slots_[at] != 0; at = (at + 1) & mask_)
      if (((slots_[at] ^ hash) & kTag) == 0) return &tokens_[static_cast<uint32_t>(slots_[at]) - 1];
    return nullptr;
  }

  std::span<const std::string_view> tokens_;
  uint64_t mask_;
  uint64_t seed_ = hash_seed();
  struct Free {
    void operator()(uint64_t* p) const { std::free(p); }
  };
  using Slots = std::unique_ptr<uint64_t[], Free>;

  // Zeros. For the 2 MiB of a real vocabulary a huge page where there are such: 512 page faults less.
  static Slots allocate(uint64_t count) {
    constexpr size_t kHuge = size_t{2} << 20;
    const size_t nbytes = count * sizeof(uint64_t);
    void* p = nbytes % kHuge == 0 ? std::aligned_alloc(kHuge, nbytes) : std::malloc(nbytes);
    if (!p) throw std::bad_alloc();
    if (nbytes % kHuge == 0) madvise(p, nbytes, MADV_HUGEPAGE);
    std::memset(p, 0, nbytes);
    return Slots(static_cast<uint64_t*>(p));
  }

  Slots slots_;  // [mask_ + 1]
};

}  // namespace q3e
