// What was computed once and may be needed again: pages of the KV cache by the tokens that they hold, a radix tree whose edges
// are pages. Keys and values of a token depend on the tokens before it, so a page is what its path from the root says.
//
// Pages are shared, never copied and never moved: what differs from a path is computed. A prompt that leaves a path in the middle
// of a page shares that page too; whoever appends to it first gets a copy (KvCache::grow).
#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include "exec/page_pool.h"

namespace q3e {

// How many tokens two texts have in common at their beginning.
uint32_t common_length(std::span<const int32_t> a, std::span<const int32_t> b);

class PrefixCache {
 public:
  // page_tokens: positions of a page.
  PrefixCache(PagePool& pool, uint32_t page_tokens);
  ~PrefixCache();
  PrefixCache(const PrefixCache&) = delete;
  PrefixCache& operator=(const PrefixCache&) = delete;

  // What the tree costs for each page that it holds, beside the page.
  static size_t bytes_for_page(uint32_t page_tokens);

  struct Match {
    std::vector<uint32_t> pages;  // the last may hold more than what is shared
    uint32_t length = 0;          // tokens that are shared
  };
  // The longest beginning of `tokens` that is here. It counts as used now; the caller becomes an owner of nothing.
  Match find(std::span<const int32_t> tokens);

  // Keeps pages[i], which holds tokens[i * page_tokens ..]; only the last may be a part of a page, and nobody may write into it
  // any more. Where the tree has the same tokens already, `pages` gets the tree's page instead of its own, owners in step: there
  // is one copy of a beginning.
  void insert(std::span<const int32_t> tokens, std::span<uint32_t> pages);

  // Gives up a page that nobody else owns (PagePool::idle counts them), if it can that which was not used for the longest time.
  // False when there is none.
  bool evict();
  void clear();

 private:
  struct Node {
    Node* parent = nullptr;
    uint32_t page = 0;
    std::vector<int32_t> tokens;  // at most page_tokens; with fewer it is a leaf
    uint64_t used = 0;            // no node was used later than its parent
    std::vector<std::unique_ptr<Node>> children;
  };
  using Leaf = std::pair<uint64_t, Node*>;

  // The tree is an owner of its nodes' pages.
  void own(uint32_t page);
  void disown(uint32_t page);
  void touch(Node& node);
  Node& add(Node& parent, std::span<const int32_t> tokens, uint32_t page);
  void remove(Node& leaf);

  PagePool& pool_;
  const uint32_t page_tokens_;
  Node root_;
  std::set<Leaf> leaves_;  // by their last use
  uint64_t clock_ = 0;
};

}  // namespace q3e
