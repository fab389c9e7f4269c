#include "exec/kv_cache.h"

#include <sys/mman.h>

#include <string>

#include "base/error.h"

namespace q3e {
namespace {
constexpr size_t kLargePage = size_t{2} << 20;
}

KvCache::KvCache(const KvShape& shape, uint32_t sequences, uint32_t context) : shape_(shape), context_(context) {
  const uint32_t pages_per_slot = KvShape::pages_for(context);
  const size_t count = size_t{sequences} * pages_per_slot;
  free_.reserve(count);
  slots_.resize(sequences);
  for (Slot& slot : slots_) slot.pages.reserve(pages_per_slot);
  const size_t pool_bytes = count * shape.page_bytes();
  reserved_bytes_ = pool_bytes + kLargePage;
  void* p = mmap(nullptr, reserved_bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED)
    throw Error(Status::out_of_memory,
                "KV cache: expected " + std::to_string(pool_bytes) + " bytes of address space, found none");
  reserved_ = static_cast<uint8_t*>(p);
  // Large pages, in which a long context is read faster, as far as the pool fills them: the plan counts every byte.
  madvise(reserved_, reserved_bytes_, MADV_NOHUGEPAGE);
  pool_ = reserved_ + (kLargePage - reinterpret_cast<uintptr_t>(reserved_) % kLargePage) % kLargePage;
  if (const size_t large = pool_bytes / kLargePage * kLargePage; large > 0) madvise(pool_, large, MADV_HUGEPAGE);
  for (size_t i = count; i-- > 0;) free_.push_back(pool_ + i * shape.page_bytes());
}

KvCache::~KvCache() {
  if (reserved_) munmap(reserved_, reserved_bytes_);
}

void KvCache::grow(uint32_t slot, uint32_t length) {
  Slot& s = slots_[slot];
  while (s.pages.size() < KvShape::pages_for(length)) {
    s.pages.push_back(free_.back());
    free_.pop_back();
  }
  if (length > s.length) s.length = length;
}

void KvCache::truncate(uint32_t slot, uint32_t length) {
  Slot& s = slots_[slot];
  if (length < s.length) s.length = length;
  while (s.pages.size() > KvShape::pages_for(s.length)) {
    free_.push_back(const_cast<uint8_t*>(s.pages.back()));
    s.pages.pop_back();
  }
}

}  // namespace q3e
