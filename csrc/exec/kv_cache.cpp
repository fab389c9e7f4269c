#include "exec/kv_cache.h"

namespace q3e {

// Large pages, in which a long context is read faster, as far as the pool fills them: the plan counts every byte.
KvCache::KvCache(size_t page_bytes, uint32_t sequences, uint32_t context)
    : context_(context),
      pool_(size_t{sequences} * pages_for(context) * page_bytes, "KV cache", Pages::aligned_large),
      sequences_(sequences) {
  const size_t count = size_t{sequences} * pages_for(context);
  free_.reserve(count);
  for (Sequence& s : sequences_) s.pages.reserve(pages_for(context));
  for (size_t i = count; i-- > 0;) free_.push_back(pool_.data() + i * page_bytes);
}

void KvCache::grow(uint32_t sequence, uint32_t length) {
  Sequence& s = sequences_[sequence];
  while (s.pages.size() < pages_for(length)) {
    s.pages.push_back(free_.back());
    free_.pop_back();
  }
  if (length > s.length) s.length = length;
}

void KvCache::truncate(uint32_t sequence, uint32_t length) {
  Sequence& s = sequences_[sequence];
  if (length < s.length) s.length = length;
  while (s.pages.size() > pages_for(s.length)) {
    free_.push_back(const_cast<uint8_t*>(s.pages.back()));
    s.pages.pop_back();
  }
}

}  // namespace q3e
