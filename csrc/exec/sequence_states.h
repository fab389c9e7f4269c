// What a model keeps of each sequence: pages of a KV cache, which can be cut at any position, and states of a fixed size, which a
// step overwrites and which can only go back to where they were copied.
#pragma once

#include <vector>

#include "exec/kv_cache.h"

namespace q3e {

class SequenceStates {
 public:
  // Bytes of a page of the cache and of a fixed state, over all blocks of the model; either may be 0. Address space for
  // `snapshots` copies of each fixed state is reserved as well. Throws Error(out_of_memory).
  SequenceStates(size_t page_bytes, size_t fixed_bytes, uint32_t sequences, uint32_t context, uint32_t pages, uint32_t snapshots);

  static uint64_t fixed_memory(size_t fixed_bytes, uint32_t sequences, uint32_t snapshots) {
    return uint64_t{fixed_bytes} * sequences * (1 + snapshots);
  }

  uint32_t sequences() const { return cache_.sequences(); }
  uint32_t context() const { return cache_.context(); }
  uint32_t length(uint32_t sequence) const { return cache_.length(sequence); }
  void grow(uint32_t sequence, uint32_t length) { cache_.grow(sequence, length); }
  KvCache& cache() { return cache_; }
  const KvCache& cache() const { return cache_; }
  // Whether sequences that begin alike may share what they keep: a state of a fixed size is its sequence's own.
  bool shares() const { return fixed_bytes_ == 0; }

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

 private:
  struct Snapshot {
    uint32_t length, place;
  };
  uint8_t* fixed_state(uint32_t sequence, uint32_t place) const {
    return fixed_.data() + (size_t{sequence} * (1 + most_snapshots_) + place) * fixed_bytes_;
  }
  // The last place that a fixed state can go back to from where it is, `length` at most.
  uint32_t last_snapshot(uint32_t sequence, uint32_t length) const;
  void restore(uint32_t sequence, uint32_t length);

  KvCache cache_;
  size_t fixed_bytes_;
  uint32_t most_snapshots_;
  MemoryRegion fixed_;                            // [sequences][1 + most_snapshots_][fixed_bytes_], the present state first
  std::vector<std::vector<Snapshot>> snapshots_;  // of each sequence, the oldest first
};

}  // namespace q3e
