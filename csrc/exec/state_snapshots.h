// Copies of states of a fixed size: places that sequences can go back to, and from which others that begin alike can go on.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/memory_region.h"

namespace q3e {

class StateSnapshots {
 public:
  // Reserves address space for so many states.
  StateSnapshots(size_t state_bytes, uint32_t count);

  // What a snapshot costs at most, tokens included. context: tokens of a sequence.
  static uint64_t bytes(size_t state_bytes, uint32_t context) {
    return state_bytes ? state_bytes + uint64_t{context} * sizeof(int32_t) : 0;
  }

  // Copies the state of a sequence with so many tokens. tokens: all of them, so that others find it; empty: not known. The one
  // that was not used for the longest time gives its room up. Nothing happens where there is no room at all.
  void add(uint32_t sequence, uint32_t length, std::span<const int32_t> tokens, const uint8_t* state);
  // The longest of a sequence, `length` at most; 0: none.
  uint32_t last(uint32_t sequence, uint32_t length) const;
  // Null where there is none of this length.
  const uint8_t* of(uint32_t sequence, uint32_t length) const;
  // What is behind `length` is no part of a sequence any more; others may still find it.
  void forget(uint32_t sequence, uint32_t length);
  // Those of a sequence up to `length` are another's as well.
  void share(uint32_t from, uint32_t to, uint32_t length);

  struct Found {
    uint32_t length = 0;  // 0: none
    uint8_t* state = nullptr;
  };
  // The longest that is of a beginning of these tokens. It counts as used now.
  Found find(std::span<const int32_t> tokens);
  // One of these tokens, whose state the caller writes; null where there is no room at all.
  uint8_t* make(std::span<const int32_t> tokens);
  // The one of these tokens is a sequence's, too.
  void own(uint32_t sequence, std::span<const int32_t> tokens);
  // Nobody finds the one of these tokens any more.
  void drop(std::span<const int32_t> tokens);
  // Leaves those alone that a sequence can go back to.
  void clear();

 private:
  struct Snapshot {
    uint32_t length = 0;              // 0: free
    std::vector<int32_t> tokens;      // [length], or empty
    std::vector<uint32_t> sequences;  // that have it
    uint64_t used = 0;
  };
  bool has(const Snapshot& s, uint32_t sequence) const;
  uint8_t* data(const Snapshot& s) const;
  // Of these tokens, or null.
  Snapshot* exact(std::span<const int32_t> tokens);
  // A free one; null where there is no room at all.
  Snapshot* take();

  size_t state_bytes_;
  MemoryRegion memory_;  // [count][state_bytes]
  std::vector<Snapshot> all_;
  uint64_t clock_ = 0;
};

}  // namespace q3e
