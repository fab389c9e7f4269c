// A team of threads that runs one function together, with barriers inside: a forward pass wakes the team once.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

#include "base/process.h"

namespace q3e {

class ThreadTeam;

// Bytes that lie one after the other.
struct Stream {
  const uint8_t* next = nullptr;
  const uint8_t* end = nullptr;
};

// Asks for them, into L2.
inline void fetch_far(Stream s) {
  for (; s.next < s.end; s.next += 64) __builtin_prefetch(s.next, 0, 2);
}

// One thread's view of the team while a function runs.
class Worker {
 public:
  int index = 0;

  // What this thread will read next: while it waits for the others it asks for it, so that memory is never idle. Two streams at
  // most, read in turns.
  void expect(Stream a, Stream b = {}) {
    expected_[0] = a;
    expected_[1] = b;
  }

  // Runs f(i) for each i in [0, count), then waits for all. Each thread walks through a share of its own, in order, so that what
  // it reads is one stream; whoever is done takes what is left of the others' shares.
  template <class F>
  void for_each(uint32_t count, F&& f) {
    const uint32_t team = team_size();
    for (uint32_t k = 0, share = static_cast<uint32_t>(index); k < team; ++k, share = share + 1 == team ? 0 : share + 1) {
      const uint32_t begin = first_of(count, share);
      const uint32_t size = first_of(count, share + 1) - begin;
      for (Items items = claim(share, size); items.first < items.last; items = claim(share, size))
        for (uint32_t i = items.first; i < items.last; ++i) f(begin + i);
    }
    barrier();
  }

  // Waits for all.
  void barrier();

  uint32_t team_size() const;

  // The first of `count` items that for_each gives this thread.
  uint32_t first_of(uint32_t count) const { return first_of(count, static_cast<uint32_t>(index)); }

 private:
  uint32_t first_of(uint32_t count, uint32_t share) const { return static_cast<uint32_t>(uint64_t{count} * share / team_size()); }
  friend class ThreadTeam;
  struct Items {
    uint32_t first, last;
  };
  // The next items of a share of `size`: a quarter of what is left, so that the long first ones are one stream and the short last
  // ones keep the threads level. A locked instruction for each item would let the reads in flight run dry every time.
  Items claim(uint32_t share, uint32_t size);
  // Waits while `ready` is false, spinning before it gives the core away; false once the spins are used up.
  template <class Ready>
  bool spin(Ready&& ready);
  bool prefetch_expected();
  ThreadTeam* pool_ = nullptr;
  Stream expected_[2];
  int patience_ = kMostPatience;

  static constexpr int kMostPatience = 4096, kLeastPatience = 32;
};

// The threads of one process, and what they meet at.
class ThreadTeam {
 public:
  explicit ThreadTeam(int threads);
  ~ThreadTeam();
  ThreadTeam(const ThreadTeam&) = delete;
  ThreadTeam& operator=(const ThreadTeam&) = delete;

  template <class F>
  void run(F&& body) {
    start([](void* f, Worker& w) { (*static_cast<std::remove_reference_t<F>*>(f))(w); }, &body);
  }

 private:
  friend class Worker;
  using Body = void (*)(void*, Worker&);
  void start(Body body, void* argument);
  void next_epoch();
  void stop_workers();
  void serve(int index);

  int size_;
  Body body_ = nullptr;
  void* argument_ = nullptr;
  std::vector<std::thread> threads_;
  alignas(64) std::atomic<uint32_t> epoch_{0};  // counts calls of run
  std::mutex mutex_;                            // guards the sleep of workers that wait for an epoch
  std::condition_variable woken_;
  std::atomic<bool> stopping_{false};
  struct alignas(64) Share {
    std::atomic<uint32_t> taken{0};
  };
  std::vector<Share> shares_;                // [size_]
  alignas(64) std::atomic<int> missing_{0};  // threads that the current barrier waits for
  alignas(64) std::atomic<int> passed_{0};   // counts barriers; what the kernel can wait on is an int
};

class ThreadPool {
 public:
  // threads counts the caller of run. Throws Error(out_of_memory) when a thread cannot start.
  explicit ThreadPool(int threads) : size_(threads), team_(make_at_home<ThreadTeam>(threads)) {}

  int size() const { return size_; }

  // Every thread calls body(worker); returns when all are done. One caller at a time; body must not throw. A forked child gets
  // threads of its own in its first call, which throws as the constructor does.
  template <class F>
  void run(F&& body) {
    if (!team_ || !team_.get_deleter().at_home()) team_ = make_at_home<ThreadTeam>(size_);
    team_->run(body);
  }

 private:
  int size_;
  OwnedAtHome<ThreadTeam> team_;
};

}  // namespace q3e
