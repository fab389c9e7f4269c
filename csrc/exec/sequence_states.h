// What a model keeps of each sequence: pages of a KV cache, which can be cut at any position, and states of a fixed size, which a
// step overwrites and which can only go back to where they were copied.
#pragma once

#include <vector>

#include "exec/kv_cache.h"

namespace q3e {

// What a block, or all blocks of a model, keep of each sequence, in bytes.
struct StateSpec {
  size_t page_bytes = 0;   // of kKvBlock positions in the KV cache, which can be cut anywhere, but see open_bytes
  size_t fixed_bytes = 0;  // of a state that every token overwrites: it can only go back to where it was copied
  // Of the keys of the last page, where they are packed when the page is full: the cache can be cut within that page, and where
  // earlier ones begin.
  size_t open_bytes = 0;

  StateSpec& operator+=(const StateSpec& other) {
    page_bytes += other.page_bytes;
    fixed_bytes += other.fixed_bytes;
    open_bytes += other.open_bytes;
    return *this;
  }
};

class SequenceStates {
 public:
  // bytes: over all blocks of the model. Address space for `snapshots` copies of each fixed state is reserved as well. Throws
  // Error(out_of_memory).
  SequenceStates(const StateSpec& bytes, uint32_t sequences, uint32_t context, uint32_t pages, uint32_t snapshots);

  // What is no page.
  static uint64_t own_memory(const StateSpec& bytes, uint32_t sequences, uint32_t snapshots) {
    return (uint64_t{bytes.fixed_bytes} * (1 + snapshots) + bytes.open_bytes) * sequences;
  }

  uint32_t sequences() const { return cache_.sequences(); }
  uint32_t context() const { return cache_.context(); }
  uint32_t length(uint32_t sequence) const { return cache_.length(sequence); }
  void grow(uint32_t sequence, uint32_t length);
  KvCache& cache() { return cache_; }
  const KvCache& cache() const { return cache_; }
  // Whether sequences that begin alike may share what they keep: a state of a fixed size is its sequence's own.
  bool shares() const { return bytes_.fixed_bytes == 0; }
  bool packs_keys() const { return bytes_.open_bytes > 0; }

  // The most tokens, `length` at most, that truncate can leave of a sequence.
  uint32_t reachable(uint32_t sequence, uint32_t length) const;
  // Forgets all from reachable(sequence, length) on, which is returned.
  uint32_t truncate(uint32_t sequence, uint32_t length);
  // The same after a pass that ended early: fixed states are spoilt, even where no token of theirs was counted.
  void recover(uint32_t sequence, uint32_t length);
  // From now on truncate can reach the present length; the oldest such place is forgotten where there is no room for one more.
  void snapshot(uint32_t sequence);

  const uint8_t* const* pages(uint32_t sequence) const { return cache_.pages(sequence); }
  uint8_t* page(uint32_t sequence, uint32_t position) { return cache_.page(sequence, position); }
  uint8_t* fixed(uint32_t sequence) { return fixed_state(sequence, 0); }
  uint8_t* open_keys(uint32_t sequence) { return open_.data() + sequence * bytes_.open_bytes; }

 private:
  struct Snapshot {
    uint32_t length, place;
  };
  uint8_t* fixed_state(uint32_t sequence, uint32_t place) const {
    return fixed_.data() + (size_t{sequence} * (1 + most_snapshots_) + place) * bytes_.fixed_bytes;
  }
  // The last place, `length` at most, that a sequence can go back to: its cache, its fixed state, and both.
  uint32_t last_cut(uint32_t sequence, uint32_t length) const;
  uint32_t last_snapshot(uint32_t sequence, uint32_t length) const;
  uint32_t last_place(uint32_t sequence, uint32_t length) const;
  void restore(uint32_t sequence, uint32_t length);
  void cut(uint32_t sequence, uint32_t length);

  static constexpr uint32_t kNoPage = UINT32_MAX;

  StateSpec bytes_;
  KvCache cache_;
  uint32_t most_snapshots_;
  MemoryRegion fixed_;                            // [sequences][1 + most_snapshots_][fixed_bytes], the present state first
  std::vector<std::vector<Snapshot>> snapshots_;  // of each sequence, the oldest first
  MemoryRegion open_;                             // [sequences][open_bytes]
  std::vector<uint32_t> open_pages_;              // of each sequence: which page's keys they are, or kNoPage
};

}  // namespace q3e
