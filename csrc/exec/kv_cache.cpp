#include "exec/kv_cache.h"

#include <algorithm>
#include <cstring>

namespace q3e {

KvCache::KvCache(size_t page_bytes, uint32_t sequences, uint32_t context, uint32_t pages, bool whole_pages)
    : context_(context), whole_pages_(whole_pages), pool_(page_bytes, pages), prefixes_(pool_, kKvBlock), sequences_(sequences) {
  for (Sequence& s : sequences_) {
    s.pages.reserve(pages_for(context));
    s.data.reserve(pages_for(context));
  }
}

uint32_t KvCache::needed(uint32_t sequence, uint32_t begin, uint32_t length) const {
  const uint32_t held = pages_for(begin);
  const bool copies = begin % kKvBlock != 0 && pool_.owners(sequences_[sequence].pages[begin / kKvBlock]) > 1;
  return std::max(pages_for(length), held) - held + copies;
}

uint32_t KvCache::freed(uint32_t sequence, uint32_t length) const {
  const std::vector<uint32_t>& pages = sequences_[sequence].pages;
  uint32_t count = 0;
  for (size_t i = pages_for(length); i < pages.size(); ++i) count += pool_.owners(pages[i]) == 1;
  return count;
}

uint32_t KvCache::take() {
  if (pool_.free() == 0) prefixes_.evict();
  return pool_.take();
}

void KvCache::append(Sequence& s, uint32_t page) {
  s.pages.push_back(page);
  s.data.push_back(pool_.data(page));
}

void KvCache::grow(uint32_t sequence, uint32_t length) {
  Sequence& s = sequences_[sequence];
  if (length <= s.length) return;
  if (const uint32_t open = s.length / kKvBlock; s.length % kKvBlock != 0 && pool_.owners(s.pages[open]) > 1) {
    const uint32_t own = take();
    std::memcpy(pool_.data(own), pool_.data(s.pages[open]), pool_.page_bytes());
    pool_.remove_owner(s.pages[open]);
    s.pages[open] = own;
    s.data[open] = pool_.data(own);
  }
  while (s.pages.size() < pages_for(length)) append(s, take());
  s.length = length;
}

void KvCache::truncate(uint32_t sequence, uint32_t length) {
  Sequence& s = sequences_[sequence];
  if (length < s.length) s.length = length;
  while (s.pages.size() > pages_for(s.length)) {
    pool_.remove_owner(s.pages.back());
    s.pages.pop_back();
    s.data.pop_back();
  }
}

uint32_t KvCache::reuse(uint32_t sequence, std::span<const int32_t> tokens) {
  Sequence& s = sequences_[sequence];
  const PrefixCache::Match match = prefixes_.find(tokens);
  s.length = shared(match.length);
  for (uint32_t i = 0; i < pages_for(s.length); ++i) {
    pool_.add_owner(match.pages[i]);
    append(s, match.pages[i]);
  }
  return s.length;
}

void KvCache::keep(uint32_t sequence, std::span<const int32_t> tokens) {
  Sequence& s = sequences_[sequence];
  tokens = tokens.first(shared(tokens.size()));
  const std::span<uint32_t> pages(s.pages.data(), pages_for(static_cast<uint32_t>(tokens.size())));
  prefixes_.insert(tokens, pages);
  for (size_t i = 0; i < pages.size(); ++i) s.data[i] = pool_.data(pages[i]);
}

KvCache::Kept KvCache::kept(std::span<const int32_t> tokens, uint32_t index) {
  const PrefixCache::Match match = prefixes_.find(tokens);
  const uint32_t length = shared(match.length), begin = index * kKvBlock;
  if (begin >= length) return {};
  return {pool_.data(match.pages[index]), std::min(kKvBlock, length - begin)};
}

bool KvCache::restore(std::span<const int32_t> tokens, const std::function<void(uint8_t*)>& fill) {
  PrefixCache::Match match = prefixes_.find(tokens);
  if (match.length == tokens.size()) return true;
  std::vector<uint32_t>& pages = match.pages;
  const uint32_t before = pages_for(static_cast<uint32_t>(tokens.size())) - 1;
  if (match.length < before * kKvBlock) return false;
  pages.resize(before);
  // Owned here, so that making room leaves them alone, and again without an owner if anything is thrown.
  struct Owners {
    PagePool& pool;
    std::vector<uint32_t> pages;
    ~Owners() {
      for (const uint32_t page : pages) pool.remove_owner(page);
    }
  } owners{pool_, {}};
  for (const uint32_t page : pages) {
    pool_.add_owner(page);
    owners.pages.push_back(page);
  }
  if (pool_.free() == 0 && !prefixes_.evict()) return false;
  const uint32_t page = pool_.take();
  owners.pages.push_back(page);
  fill(pool_.data(page));
  pages.push_back(page);
  prefixes_.insert(tokens, pages);
  return true;
}

uint32_t KvCache::share(uint32_t from, uint32_t to, uint32_t length) {
  length = shared(length);
  for (uint32_t i = 0; i < pages_for(length); ++i) {
    const uint32_t page = sequences_[from].pages[i];
    pool_.add_owner(page);
    append(sequences_[to], page);
  }
  return sequences_[to].length = length;
}

}  // namespace q3e
