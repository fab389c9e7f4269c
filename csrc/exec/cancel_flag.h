// How one thread ends another's running call.
#pragma once

#include <algorithm>
#include <atomic>
#include <utility>
#include <vector>

namespace q3e {

// Set from any thread, a signal's handler included; a forward that was given it looks before each layer. Whoever set it clears
// it.
class CancelFlag {
 public:
  void set() { set_.store(true, std::memory_order_relaxed); }
  void clear() { set_.store(false, std::memory_order_relaxed); }
  bool is_set() const {
    return set_.load(std::memory_order_relaxed) ||
           (!others_.empty() && std::all_of(others_.begin(), others_.end(), [](const CancelFlag* f) { return f->is_set(); }));
  }
  // From now on it counts as set also while all of these are; none of them: by itself only.
  void follow(std::vector<const CancelFlag*> others) { others_ = std::move(others); }

 private:
  std::atomic<bool> set_{false};
  std::vector<const CancelFlag*> others_;
};

}  // namespace q3e
