// A team of threads that runs one function together, with barriers inside: a forward pass wakes the team once.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

namespace q3e {

class ThreadPool;

// One thread's view of the team while a function runs.
class Worker {
 public:
  int index = 0;

  // Runs f(i) for each i in [0, count), items handed out one by one to whoever is free, then waits for all.
  template <class F>
  void for_each(uint32_t count, F&& f) {
    for (uint32_t i = claim(); i < count; i = claim()) f(i);
    barrier();
  }

 private:
  friend class ThreadPool;
  uint32_t claim();
  void barrier();
  ThreadPool* pool_ = nullptr;
};

class ThreadPool {
 public:
  // threads counts the caller of run. Throws Error(out_of_memory) when a thread cannot start.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return size_; }

  // Every thread calls body(worker); returns when all are done. One caller at a time; body must not throw.
  template <class F>
  void run(F&& body) {
    start([](void* f, Worker& w) { (*static_cast<std::remove_reference_t<F>*>(f))(w); }, &body);
  }

 private:
  friend class Worker;
  using Body = void (*)(void*, Worker&);
  void start(Body body, void* argument);
  void stop_workers();
  void serve(int index);

  int size_;
  pid_t owner_;
  Body body_ = nullptr;
  void* argument_ = nullptr;
  std::vector<std::thread> threads_;
  alignas(64) std::atomic<uint32_t> epoch_{0};  // counts calls of run
  std::atomic<bool> stopping_{false};
  alignas(64) std::atomic<uint32_t> next_item_{0};
  alignas(64) std::atomic<int> missing_{0};      // threads that the current barrier waits for
  alignas(64) std::atomic<uint32_t> passed_{0};  // counts barriers
  int team_ = 1;                                 // threads in this run
};

}  // namespace q3e
