#include "base/memory_region.h"

#include <sys/mman.h>

#include <string>

#include "base/error.h"

namespace q3e {
namespace {
constexpr size_t kLargePage = size_t{2} << 20;
}

MemoryRegion::MemoryRegion(size_t nbytes, const char* purpose, Pages pages, Children children)
    : reserved_bytes_(nbytes + (pages == Pages::aligned_large ? kLargePage : 0)) {
  if (reserved_bytes_ == 0) reserved_bytes_ = 1;  // the system has no region without a byte
  void* p = mmap(nullptr, reserved_bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED)
    throw Error(Status::out_of_memory,
                std::string(purpose) + ": expected " + std::to_string(nbytes) + " bytes of address space, found none");
  reserved_ = data_ = static_cast<uint8_t*>(p);
  madvise(reserved_, reserved_bytes_, pages == Pages::large ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
  if (children == Children::none) madvise(reserved_, reserved_bytes_, MADV_DONTFORK);
  if (pages != Pages::aligned_large) return;
  data_ += (kLargePage - reinterpret_cast<uintptr_t>(reserved_) % kLargePage) % kLargePage;
  if (const size_t filled = nbytes / kLargePage * kLargePage; filled > 0) madvise(data_, filled, MADV_HUGEPAGE);
}

MemoryRegion::~MemoryRegion() { munmap(reserved_, reserved_bytes_); }

}  // namespace q3e
