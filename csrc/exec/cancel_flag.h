// How one thread ends another's running call.
#pragma once

#include <atomic>

namespace q3e {

// Set from any thread, a signal's handler included; a forward that was given it looks before each layer. Whoever set it clears
// it.
class CancelFlag {
 public:
  void set() { set_.store(true, std::memory_order_relaxed); }
  void clear() { set_.store(false, std::memory_order_relaxed); }
  bool is_set() const { return set_.load(std::memory_order_relaxed); }

 private:
  std::atomic<bool> set_{false};
};

}  // namespace q3e
