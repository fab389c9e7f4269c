// What a model keeps of each sequence: pages of a KV cache, which can be cut at any position, and states of a fixed size, which a
// step overwrites and which can only go back to where they were copied.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "exec/kv_cache.h"
#include "exec/state_snapshots.h"

namespace q3e {

// What a block, or all blocks of a model, keep of each sequence, in bytes.
struct StateSpec {
  size_t page_bytes = 0;   // of kKvBlock positions in the KV cache, which can be cut anywhere, but see open_bytes
  size_t fixed_bytes = 0;  // of a state that every token overwrites: it can only go back to where it was copied
  // Of the keys of the last page, where they are packed when the page is full: the cache can be cut within that page, and where
  // earlier ones begin.
  size_t open_bytes = 0;
  // What is kept of a token that a fixed state may have to go back by: enough to put it into the state once it stays.
  size_t pending_bytes = 0;

  StateSpec& operator+=(const StateSpec& other) {
    page_bytes += other.page_bytes;
    fixed_bytes += other.fixed_bytes;
    open_bytes += other.open_bytes;
    pending_bytes += other.pending_bytes;
    return *this;
  }
};

class SequenceStates {
 public:
  // bytes: over all blocks of the model. Address space for `snapshots` copies of a fixed state for each sequence, and as many
  // for those that left, is reserved as well; all share them. most_pending: tokens of a step that a fixed state can go back by.
  // Throws Error(out_of_memory).
  SequenceStates(const StateSpec& bytes, uint32_t sequences, uint32_t context, uint32_t pages, uint32_t snapshots,
                 uint32_t most_pending);

  // What is no page.
  static uint64_t own_memory(const StateSpec& bytes, uint32_t sequences, uint32_t context, uint32_t snapshots,
                             uint32_t most_pending) {
    return (bytes.fixed_bytes + bytes.open_bytes + most_pending * bytes.pending_bytes) * sequences +
           StateSnapshots::bytes(bytes.fixed_bytes, context) * snapshots * (sequences + uint64_t{1});
  }

  uint32_t sequences() const { return cache_.sequences(); }
  uint32_t context() const { return cache_.context(); }
  uint32_t length(uint32_t sequence) const { return cache_.length(sequence); }
  void grow(uint32_t sequence, uint32_t length);
  KvCache& cache() { return cache_; }
  const KvCache& cache() const { return cache_; }
  size_t fixed_bytes() const { return bytes_.fixed_bytes; }
  bool packs_keys() const { return bytes_.open_bytes > 0; }
  // Where a state can be gone back to or gone on from at snapshots alone: the tokens of which others' places are multiples. 0: a
  // cache can be cut anywhere.
  uint32_t snapshot_unit() const { return bytes_.fixed_bytes == 0 ? 0 : packs_keys() ? kKvBlock : 1; }

  // The most tokens, `length` at most, that truncate can leave of a sequence.
  uint32_t reachable(uint32_t sequence, uint32_t length) const;
  // Forgets all from reachable(sequence, length) on, which is returned.
  uint32_t truncate(uint32_t sequence, uint32_t length);
  // The same after a pass that ended early: fixed states are spoilt, even where no token of theirs was counted.
  void recover(uint32_t sequence, uint32_t length);
  // From now on truncate can reach the present length, as long as no newer snapshot needs the room. tokens: all of the sequence,
  // so that `reuse` finds it; or empty. Here, and of whose tokens all are kept or shared, none may be pending.
  void snapshot(uint32_t sequence, std::span<const int32_t> tokens = {});

  // An empty sequence takes the longest beginning of `tokens` that was kept; returns its length.
  uint32_t reuse(uint32_t sequence, std::span<const int32_t> tokens);
  // Keeps what a sequence has of its tokens, from its first on. Of a sequence that goes on: whole pages.
  void keep(uint32_t sequence, std::span<const int32_t> tokens);
  // An empty sequence takes the first tokens of another, at most so many; returns how many.
  uint32_t share(uint32_t from, uint32_t to, uint32_t length);
  void clear_kept();
  // Of the longest beginning of `tokens` that was kept with a fixed state: its length, 0 for none, and the state.
  StateSnapshots::Found kept_state(std::span<const int32_t> tokens);
  // Keeps the state of these tokens, whose pages are kept, as `fill` writes it. Nothing happens where there is no room at all.
  void restore_state(std::span<const int32_t> tokens, const std::function<void(uint8_t*)>& fill);

  const uint8_t* const* pages(uint32_t sequence) const { return cache_.pages(sequence); }
  uint8_t* page(uint32_t sequence, uint32_t position) { return cache_.page(sequence, position); }
  uint8_t* fixed(uint32_t sequence) const { return fixed_.data() + sequence * bytes_.fixed_bytes; }
  // How many of the last tokens its fixed state does not have yet: they can be taken back one by one.
  uint32_t pending(uint32_t sequence) const { return pending_counts_[sequence]; }
  // Whether a step of so many tokens leaves them pending, which puts those of before into the state.
  bool stay_pending(uint32_t tokens) const { return tokens <= most_pending_; }
  // After a step, or once the state has them all (0).
  void set_pending(uint32_t sequence, uint32_t tokens) { pending_counts_[sequence] = stay_pending(tokens) ? tokens : 0; }
  // Of a block that keeps so many bytes of a token, behind `before`: the index-th one's.
  uint8_t* pending_row(uint32_t sequence, const StateSpec& before, size_t bytes, uint32_t index) const {
    return pending_.data() + (sequence * bytes_.pending_bytes + before.pending_bytes) * most_pending_ + index * bytes;
  }
  uint8_t* open_keys(uint32_t sequence) { return open_.data() + sequence * bytes_.open_bytes; }

 private:
  // The last place, `length` at most, that a sequence's cache can go back to; its cache and its fixed state.
  uint32_t last_cut(uint32_t sequence, uint32_t length) const;
  uint32_t last_place(uint32_t sequence, uint32_t length) const;
  void restore(uint32_t sequence, uint32_t length);
  void cut(uint32_t sequence, uint32_t length);
  bool has_pages(std::span<const int32_t> tokens);

  static constexpr uint32_t kNoPage = UINT32_MAX;

  StateSpec bytes_;
  KvCache cache_;
  MemoryRegion fixed_;  // [sequences][fixed_bytes]
  StateSnapshots snapshots_;
  uint32_t most_pending_;
  MemoryRegion pending_;  // [sequences][blocks][most_pending][bytes of the block's]
  std::vector<uint32_t> pending_counts_;
  MemoryRegion open_;                 // [sequences][open_bytes]
  std::vector<uint32_t> open_pages_;  // of each sequence: which page's keys they are, or kNoPage
};

}  // namespace q3e
