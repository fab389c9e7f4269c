// Pages of the KV cache, each of 64 positions of all layers, from one fixed pool. A page may have several owners: sequences that
// begin alike, and the prefix cache. Nobody writes into a page that others own as well.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/memory_region.h"

namespace q3e {

class PagePool {
 public:
  // Reserves address space; memory is taken when a page is first written.
  PagePool(size_t page_bytes, uint32_t count);

  uint32_t count() const { return static_cast<uint32_t>(pages_.size()); }
  uint32_t free() const { return static_cast<uint32_t>(free_.size()); }
  // Pages that the prefix cache alone owns: it can give them up at any time.
  uint32_t idle() const { return idle_; }
  size_t page_bytes() const { return page_bytes_; }
  uint8_t* data(uint32_t page) const { return memory_.data() + page * page_bytes_; }

  // A page with one owner. Throws Error(over_budget) when none is free.
  uint32_t take();
  void add_owner(uint32_t page);
  // Frees the page when this was the last.
  void remove_owner(uint32_t page);
  uint32_t owners(uint32_t page) const { return pages_[page].owners; }
  // Whether one of the owners is the prefix cache.
  void set_cached(uint32_t page, bool cached);

 private:
  struct Page {
    uint32_t owners = 0;
    bool cached = false;
    bool idle() const { return cached && owners == 1; }
  };
  // Changes a page and counts it anew.
  template <class F>
  void change(uint32_t page, F&& f);

  size_t page_bytes_;
  MemoryRegion memory_;  // [count][page_bytes]
  std::vector<Page> pages_;
  std::vector<uint32_t> free_;  // the lowest page last, so that it is reused first
  uint32_t idle_ = 0;
};

}  // namespace q3e
