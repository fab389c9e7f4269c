// The time that something takes.
#pragma once

#include <chrono>
#include <cstdint>

namespace q3e {

using Clock = std::chrono::steady_clock;

inline double since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

// Seconds of a call of f, averaged over calls of about `seconds` together.
template <class F>
double time_calls(double seconds, F&& f) {
  uint64_t calls = 0;
  const auto begin = Clock::now();
  do {
    f();
    ++calls;
  } while (since(begin) < seconds);
  return since(begin) / static_cast<double>(calls);
}

}  // namespace q3e
