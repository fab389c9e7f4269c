// The KV cache: pages of 64 positions of all layers, taken from a fixed pool as sequences grow.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/memory_region.h"
#include "ukernels/kernels.h"

namespace q3e {

class KvCache {
 public:
  // Reserves address space for sequences * pages_for(context) pages; memory is taken when a page is first written.
  // page_bytes: of a page, with the part of every block that has one.
  KvCache(size_t page_bytes, uint32_t sequences, uint32_t context);

  static uint32_t pages_for(uint32_t positions) { return (positions + kKvBlock - 1) / kKvBlock; }
  uint32_t sequences() const { return static_cast<uint32_t>(sequences_.size()); }
  uint32_t context() const { return context_; }
  uint32_t length(uint32_t sequence) const { return sequences_[sequence].length; }

  // Makes room for positions up to `length` and counts them as held. Never fails: every sequence can reach the context.
  void grow(uint32_t sequence, uint32_t length);
  // Forgets all from `length` on and gives the pages back to the pool.
  void truncate(uint32_t sequence, uint32_t length);

  // Page i of a sequence holds positions 64 i .. 64 i + 63.
  const uint8_t* const* pages(uint32_t sequence) const { return sequences_[sequence].pages.data(); }
  uint8_t* page(uint32_t sequence, uint32_t position) {
    return const_cast<uint8_t*>(sequences_[sequence].pages[position / kKvBlock]);
  }

 private:
  struct Sequence {
    std::vector<const uint8_t*> pages;
    uint32_t length = 0;
  };
  uint32_t context_;
  MemoryRegion pool_;
  std::vector<uint8_t*> free_;  // the lowest page last, so that it is reused first
  std::vector<Sequence> sequences_;
};

}  // namespace q3e
