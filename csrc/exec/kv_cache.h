// The KV cache: which pages of 64 positions each sequence holds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "exec/page_pool.h"
#include "exec/prefix_cache.h"
#include "ukernels/kernels.h"

namespace q3e {

class KvCache {
 public:
  // page_bytes: of a page, with the part of every block that has one. pages: that all sequences and the prefix cache share.
  // whole_pages: a page that is not full has a part elsewhere, so that sequences share full ones alone.
  KvCache(size_t page_bytes, uint32_t sequences, uint32_t context, uint32_t pages, bool whole_pages = false);

  static uint32_t pages_for(uint32_t positions) { return (positions + kKvBlock - 1) / kKvBlock; }
  uint32_t sequences() const { return static_cast<uint32_t>(sequences_.size()); }
  uint32_t context() const { return context_; }
  uint32_t length(uint32_t sequence) const { return sequences_[sequence].length; }

  // Pages that are free, or that the prefix cache would give up.
  uint32_t available() const { return pool_.free() + pool_.idle(); }
  // How many of these a sequence takes to continue from `begin`, at most its length, to `length`.
  uint32_t needed(uint32_t sequence, uint32_t begin, uint32_t length) const;
  // How many of its pages become available when it is cut at `length`.
  uint32_t freed(uint32_t sequence, uint32_t length) const;

  // Makes room for positions up to `length` and counts them as held. There must be as many pages as `needed` says.
  void grow(uint32_t sequence, uint32_t length);
  // Forgets all from `length` on and gives the pages back to the pool.
  void truncate(uint32_t sequence, uint32_t length);

  // An empty sequence takes the longest beginning of `tokens` that is in the prefix cache; returns its length.
  uint32_t reuse(uint32_t sequence, std::span<const int32_t> tokens);
  // Puts the pages of a sequence's tokens, from its first on, into the prefix cache. Of a sequence that goes on: whole ones only.
  void keep(uint32_t sequence, std::span<const int32_t> tokens);
  // An empty sequence takes the pages of another's first tokens; returns its length.
  uint32_t share(uint32_t from, uint32_t to, uint32_t length);
  void clear_prefixes() { prefixes_.clear(); }
  size_t page_bytes() const { return pool_.page_bytes(); }
  // Page `index` of the longest beginning of `tokens` that the prefix cache has, and how many of the tokens are in it.
  struct Kept {
    const uint8_t* page = nullptr;
    uint32_t tokens = 0;
  };
  Kept kept(std::span<const int32_t> tokens, uint32_t index);
  // Puts the last page of `tokens`, which may be a part of one, into the prefix cache, as `fill` writes it; not called when it is
  // there. False when the pages before it are not, or there is no room.
  bool restore(std::span<const int32_t> tokens, const std::function<void(uint8_t*)>& fill);

  // Page i of a sequence holds positions 64 i .. 64 i + 63.
  const uint8_t* const* pages(uint32_t sequence) const { return sequences_[sequence].data.data(); }
  uint8_t* page(uint32_t sequence, uint32_t position) { return pool_.data(sequences_[sequence].pages[position / kKvBlock]); }

 private:
  struct Sequence {
    std::vector<uint32_t> pages;
    std::vector<const uint8_t*> data;  // of the pages
    uint32_t length = 0;
  };
  // How many of so many tokens can be shared.
  uint32_t shared(size_t tokens) const { return static_cast<uint32_t>(whole_pages_ ? tokens / kKvBlock * kKvBlock : tokens); }
  uint32_t take();
  void append(Sequence& sequence, uint32_t page);

  uint32_t context_;
  bool whole_pages_;
  PagePool pool_;
  PrefixCache prefixes_;
  std::vector<Sequence> sequences_;
};

}  // namespace q3e
