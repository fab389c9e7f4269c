// What a fork does to us: the child has one thread, and copies of locks that threads of the parent held.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>

namespace q3e {

// How many forks lie between the process that loaded this library and this one. What has made threads or begun reads keeps the
// number of that moment: where another one is found, both belong to a parent.
uint32_t process_generation();

// Deletes what this process made. What a fork copied is left alone: destructors would wait for threads that are not there.
template <class T>
class DeleteAtHome {
 public:
  bool at_home() const { return generation_ == process_generation(); }
  void operator()(T* p) const {
    if (at_home())
      delete p;
    else if constexpr (requires { p->abandon(); })
      p->abandon();  // what a child can give back of it
  }

 private:
  uint32_t generation_ = process_generation();
};

template <class T>
using OwnedAtHome = std::unique_ptr<T, DeleteAtHome<T>>;

template <class T, class... Arguments>
OwnedAtHome<T> make_at_home(Arguments&&... arguments) {
  return OwnedAtHome<T>(new T(std::forward<Arguments>(arguments)...));
}

// A mutex that a child can lock although a thread of its parent held it at the fork: it gets one of its own then.
class ForkMutex {
 public:
  ForkMutex() : state_(new State) {}
  ~ForkMutex();
  ForkMutex(const ForkMutex&) = delete;
  ForkMutex& operator=(const ForkMutex&) = delete;

  void lock();
  void unlock() { state_.load(std::memory_order_acquire)->mutex.unlock(); }

 private:
  struct State {
    const uint32_t generation = process_generation();
    std::mutex mutex;
  };
  std::atomic<State*> state_;
};

}  // namespace q3e
