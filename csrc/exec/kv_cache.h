// The KV cache: pages of 64 positions for all layers, taken from a fixed pool as sequences grow.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "ukernels/kernels.h"

namespace q3e {

struct KvShape {
  KvType type;
  uint32_t layers, kv_heads, head_dim;

  size_t layer_bytes() const { return kv_heads * kv_block_layout(type, head_dim).bytes; }
  size_t page_bytes() const { return layers * layer_bytes(); }
  static uint32_t pages_for(uint32_t positions) { return (positions + kKvBlock - 1) / kKvBlock; }
};

class KvCache {
 public:
  // Reserves address space for sequences * pages_for(context) pages; memory is taken when a page is first written.
  KvCache(const KvShape& shape, uint32_t sequences, uint32_t context);
  ~KvCache();
  KvCache(const KvCache&) = delete;
  KvCache& operator=(const KvCache&) = delete;

  const KvShape& shape() const { return shape_; }
  uint32_t sequences() const { return static_cast<uint32_t>(slots_.size()); }
  uint32_t context() const { return context_; }
  uint32_t length(uint32_t slot) const { return slots_[slot].length; }

  // Makes room for positions up to `length` and counts them as held. Never fails: every slot can reach the context.
  void grow(uint32_t slot, uint32_t length);
  // Forgets all from `length` on and gives the pages back to the pool.
  void truncate(uint32_t slot, uint32_t length);

  // Page i of a sequence holds positions 64 i .. 64 i + 63: [layers][kv_heads] blocks.
  const uint8_t* const* pages(uint32_t slot) const { return slots_[slot].pages.data(); }
  uint8_t* page(uint32_t slot, uint32_t position) { return const_cast<uint8_t*>(slots_[slot].pages[position / kKvBlock]); }

 private:
  struct Slot {
    std::vector<const uint8_t*> pages;
    uint32_t length = 0;
  };
  KvShape shape_;
  uint32_t context_;
  uint8_t *reserved_ = nullptr, *pool_ = nullptr;  // address space, and the first page in it
  size_t reserved_bytes_ = 0;
  std::vector<uint8_t*> free_;  // the lowest page last, so that it is reused first
  std::vector<Slot> slots_;
};

}  // namespace q3e
