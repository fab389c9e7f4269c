#include "base/process.h"

#include <pthread.h>

namespace q3e {
namespace {

std::atomic<uint32_t> generation{0};

// Before main, or when the library is loaded; the C library takes the handler back when it is unloaded.
[[maybe_unused]] const int registered =
    pthread_atfork(nullptr, nullptr, [] { generation.fetch_add(1, std::memory_order_relaxed); });

}  // namespace

uint32_t process_generation() { return generation.load(std::memory_order_relaxed); }

ForkMutex::~ForkMutex() {
  State* state = state_.load();
  if (state->generation == process_generation()) delete state;
}

void ForkMutex::lock() {
  for (;;) {
    State* state = state_.load(std::memory_order_acquire);
    if (state->generation == process_generation()) return state->mutex.lock();
    auto fresh = std::make_unique<State>();
    if (state_.compare_exchange_strong(state, fresh.get())) (void)fresh.release();  // else another thread of the child was first
  }
}

}  // namespace q3e
