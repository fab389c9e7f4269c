#include "exec/page_pool.h"

#include <string>

#include "base/error.h"

namespace q3e {

// Large pages, in which a long context is read faster, as far as the pool fills them: the plan counts every byte.
PagePool::PagePool(size_t page_bytes, uint32_t count)
    : page_bytes_(page_bytes), memory_(count * page_bytes, "KV cache", Pages::aligned_large), pages_(count) {
  free_.reserve(count);
  for (uint32_t page = count; page-- > 0;) free_.push_back(page);
}

template <class F>
void PagePool::change(uint32_t page, F&& f) {
  idle_ -= pages_[page].idle();
  f(pages_[page]);
  idle_ += pages_[page].idle();
}

uint32_t PagePool::take() {
  // Who takes pages has counted them before; a wrong count must not become a wrong address.
  if (free_.empty())
    throw Error(Status::over_budget, "KV cache: expected a free page, found none of " + std::to_string(pages_.size()));
  const uint32_t page = free_.back();
  free_.pop_back();
  pages_[page].owners = 1;
  return page;
}

void PagePool::add_owner(uint32_t page) {
  change(page, [](Page& p) { ++p.owners; });
}

void PagePool::remove_owner(uint32_t page) {
  change(page, [](Page& p) { --p.owners; });
  if (pages_[page].owners == 0) free_.push_back(page);
}

void PagePool::set_cached(uint32_t page, bool cached) {
  change(page, [&](Page& p) { p.cached = cached; });
}

}  // namespace q3e
