#include "exec/thread_pool.h"

#include <algorithm>
#include <chrono>
#include <exception>
#include <string>

#include "base/error.h"
#include "base/rounding.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace q3e {
namespace {

void relax() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

// The next token usually comes within some hundred microseconds, of which waking a sleeper would cost a good part.
constexpr auto kAwake = std::chrono::microseconds(400);

}  // namespace

uint32_t Worker::team_size() const { return static_cast<uint32_t>(pool_->size_); }

Worker::Items Worker::claim(uint32_t share, uint32_t size) {
  std::atomic<uint32_t>& taken = pool_->shares_[share].taken;
  for (uint32_t first = taken.load(std::memory_order_relaxed); first < size;) {
    const uint32_t last = first + std::max(1u, (size - first) / 4);
    if (taken.compare_exchange_weak(first, last, std::memory_order_relaxed)) return {first, last};
  }
  return {size, size};
}

void Worker::barrier() {
  ThreadTeam& p = *pool_;
  const int passed = p.passed_.load(std::memory_order_relaxed);
  if (p.missing_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
    for (ThreadTeam::Share& share : p.shares_) share.taken.store(0, std::memory_order_relaxed);
    p.missing_.store(p.size_, std::memory_order_relaxed);
    // Not a release: notify_all looks whether anybody sleeps, and must not look before the others can see this.
    p.passed_.store(static_cast<int>(static_cast<uint32_t>(passed) + 1), std::memory_order_seq_cst);
    p.passed_.notify_all();
    return;
  }
  const auto ready = [&] { return p.passed_.load(std::memory_order_acquire) != passed; };
  if (!spin(ready)) p.passed_.wait(passed, std::memory_order_acquire);
}

// Threads that have a core each arrive within a short spin. When they have not, spinning only keeps the others from arriving:
// then the patience shrinks with every wait in vain, and grows again with every one that was not.
template <class Ready>
bool Worker::spin(Ready&& ready) {
  for (int spins = 0; spins < patience_; ++spins) {
    if (ready()) {
      patience_ = std::min(2 * patience_, kMostPatience);
      return true;
    }
    if (!prefetch_expected()) relax();
  }
  patience_ = std::max(patience_ / 2, kLeastPatience);
  return ready();
}

bool Worker::prefetch_expected() {
  if (expected_[0].next >= expected_[0].end) {
    std::swap(expected_[0], expected_[1]);
    if (expected_[0].next >= expected_[0].end) return false;
  }
  constexpr size_t kStep = 256;  // little enough that a thread soon sees that the others have come
  fetch_far({expected_[0].next, expected_[0].next + kStep});
  expected_[0].next += kStep;
  if (expected_[1].next < expected_[1].end) std::swap(expected_[0], expected_[1]);
  return true;
}

ThreadTeam::ThreadTeam(int threads) : size_(threads), shares_(static_cast<size_t>(threads)) {
  try {
    for (int i = 1; i < threads; ++i) threads_.emplace_back([this, i] { serve(i); });
  } catch (const std::exception& e) {
    const size_t started = threads_.size() + 1;
    stop_workers();
    throw Error(Status::out_of_memory, "threads: expected to start " + std::to_string(threads) + ", found room for " +
                                           std::to_string(started) + " (" + e.what() + ")");
  }
}

ThreadTeam::~ThreadTeam() { stop_workers(); }

void ThreadTeam::stop_workers() {
  stopping_.store(true);
  next_epoch();
  for (std::thread& t : threads_) t.join();
  threads_.clear();
}

void ThreadTeam::next_epoch() {
  {
    const std::lock_guard lock(mutex_);
    epoch_.fetch_add(1, std::memory_order_release);
  }
  woken_.notify_all();
}

void ThreadTeam::start(Body body, void* argument) {
  body_ = body;
  argument_ = argument;
  missing_.store(size_, std::memory_order_relaxed);
  if (size_ > 1) next_epoch();
  Worker self;
  self.pool_ = this;
  body(argument, self);
  self.barrier();
}

void ThreadTeam::serve(int index) {
  const DefaultRounding rounding;  // a thread begins with its maker's
  Worker self;
  self.index = index;
  self.pool_ = this;
  for (uint32_t seen = 0;;) {
    const auto called = [&] { return epoch_.load(std::memory_order_acquire) != seen; };
    if (self.patience_ > Worker::kLeastPatience)  // else this thread would keep another from its core
      for (const auto begin = std::chrono::steady_clock::now(); !called() && std::chrono::steady_clock::now() - begin < kAwake;)
        if (!self.prefetch_expected()) relax();
    if (!called()) {
      std::unique_lock lock(mutex_);
      woken_.wait(lock, called);
    }
    ++seen;
    if (stopping_.load()) return;
    body_(argument_, self);
    self.barrier();
  }
}

}  // namespace q3e
