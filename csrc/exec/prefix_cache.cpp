#include "exec/prefix_cache.h"

#include <algorithm>

namespace q3e {
uint32_t common_length(std::span<const int32_t> a, std::span<const int32_t> b) {
  const auto most = static_cast<ptrdiff_t>(std::min(a.size(), b.size()));
  return static_cast<uint32_t>(std::mismatch(a.begin(), a.begin() + most, b.begin()).first - a.begin());
}

PrefixCache::PrefixCache(PagePool& pool, uint32_t page_tokens) : pool_(pool), page_tokens_(page_tokens) {}

PrefixCache::~PrefixCache() { clear(); }

// The node, its place among its parent's children and among the leaves, with what an allocator adds to each.
size_t PrefixCache::bytes_for_page(uint32_t page_tokens) {
  return sizeof(Node) + page_tokens * sizeof(int32_t) + 2 * sizeof(void*) + sizeof(Leaf) + 32 + 4 * 16;
}

PrefixCache::Match PrefixCache::find(std::span<const int32_t> tokens) {
  Match match;
  ++clock_;
  for (Node* at = &root_; at;) {
    Node* best = nullptr;
    uint32_t most = 0;
    const auto rest = tokens.subspan(match.length);
    for (const auto& child : at->children)
      if (const uint32_t shared = common_length(child->tokens, rest); shared > most) best = child.get(), most = shared;
    if (best) {
      match.length += most;
      match.pages.push_back(best->page);
      touch(*best);
    }
    at = most == page_tokens_ ? best : nullptr;
  }
  return match;
}

void PrefixCache::insert(std::span<const int32_t> tokens, std::span<uint32_t> pages) {
  ++clock_;
  Node* at = &root_;
  for (uint32_t& page : pages) {
    const auto tokens_here = tokens.first(std::min<size_t>(page_tokens_, tokens.size()));
    tokens = tokens.subspan(tokens_here.size());
    Node *whole = nullptr, *part = nullptr;  // a child with all of these tokens; one with a beginning of them only
    for (const auto& child : at->children) {
      const uint32_t shared = common_length(child->tokens, tokens_here);
      if (shared == tokens_here.size())
        whole = child.get();
      else if (shared == child->tokens.size())
        part = child.get();
    }
    if (whole) {
      if (whole->page != page && whole->tokens.size() == tokens_here.size()) {
        pool_.add_owner(whole->page);
        pool_.remove_owner(page);
        page = whole->page;
      }
      at = whole;
    } else if (part) {
      disown(part->page);
      part->page = page;
      part->tokens.assign(tokens_here.begin(), tokens_here.end());
      own(page);
      at = part;
    } else {
      at = &add(*at, tokens_here, page);
    }
    touch(*at);
  }
}

bool PrefixCache::evict() {
  while (pool_.idle() > 0) {
    const auto alone = [&](const Node& node) { return pool_.owners(node.page) == 1; };
    const auto below = [&](const Leaf& leaf) {
      for (const Node* at = leaf.second->parent; at != &root_; at = at->parent)
        if (alone(*at)) return true;
      return false;
    };
    auto found = std::find_if(leaves_.begin(), leaves_.end(), [&](const Leaf& leaf) { return alone(*leaf.second); });
    const bool frees = found != leaves_.end();
    // A sequence can hold a page without the tree's page before it, as it began with another copy of that one: the tree forgets
    // what is in the way.
    if (!frees) found = std::find_if(leaves_.begin(), leaves_.end(), below);
    remove(*found->second);
    if (frees) return true;
  }
  return false;
}

void PrefixCache::clear() {
  while (!leaves_.empty()) remove(*leaves_.begin()->second);
}

void PrefixCache::own(uint32_t page) {
  pool_.add_owner(page);
  pool_.set_cached(page, true);
}

void PrefixCache::disown(uint32_t page) {
  pool_.set_cached(page, false);
  pool_.remove_owner(page);
}

void PrefixCache::touch(Node& node) {
  if (node.children.empty()) {
    leaves_.erase({node.used, &node});
    leaves_.insert({clock_, &node});
  }
  node.used = clock_;
}

PrefixCache::Node& PrefixCache::add(Node& parent, std::span<const int32_t> tokens, uint32_t page) {
  leaves_.erase({parent.used, &parent});
  Node& node = *parent.children.emplace_back(std::make_unique<Node>());
  node.parent = &parent;
  node.page = page;
  node.tokens.assign(tokens.begin(), tokens.end());
  own(page);
  return node;
}

void PrefixCache::remove(Node& leaf) {
  Node& parent = *leaf.parent;
  leaves_.erase({leaf.used, &leaf});
  disown(leaf.page);
  std::erase_if(parent.children, [&](const auto& child) { return child.get() == &leaf; });
  if (parent.children.empty() && parent.parent) leaves_.insert({parent.used, &parent});
}

}  // namespace q3e
