// Anonymous memory of the process, whose pages exist from when they are first written.
#pragma once

#include <cstddef>
#include <cstdint>

namespace q3e {

// Pages of 4 KiB; of 2 MiB where the system has them: fewer to make, and read faster; of 2 MiB from an address that is a multiple
// of it, as far as they are filled, and small ones behind, so that nothing is resident that was not asked for.
enum class Pages { small, large, aligned_large };

// What a forked child gets of it. A fork in the middle of a direct read would leave the parent without what is read (open(2)),
// and what the child would see of it is half a read: what reads go into is the parent's alone.
enum class Children { copy, none };

class MemoryRegion {
 public:
  // Reserves address space alone. Throws Error(out_of_memory), in which `purpose` says what it is for.
  MemoryRegion(size_t nbytes, const char* purpose, Pages pages = Pages::small, Children children = Children::copy);
  ~MemoryRegion();
  MemoryRegion(const MemoryRegion&) = delete;
  MemoryRegion& operator=(const MemoryRegion&) = delete;

  uint8_t* data() const { return data_; }  // [nbytes], zeros

 private:
  uint8_t *reserved_, *data_;
  size_t reserved_bytes_;
};

}  // namespace q3e
