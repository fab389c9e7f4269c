// The one exception of the core. Thrown at boundaries, caught by the C API and by the Python bindings.
#pragma once

#include <stdexcept>
#include <string>

namespace q3e {

// The values are part of the C API (q3e_status in include/qwen3edge.h).
enum class Status : int {
  ok = 0,
  bad_argument = 1,
  io_error = 2,
  truncated_file = 3,
  foreign_file = 4,
  corrupt_file = 5,
  bad_file = 6,
  unsupported_model = 7,
  over_budget = 8,
  out_of_memory = 9,
  internal = 10,
  cancelled = 11,
  busy = 12,
  template_error = 13,
};

class Error : public std::runtime_error {
 public:
  Error(Status status, const std::string& text) : std::runtime_error(text), status_(status) {}
  Status status() const { return status_; }

 private:
  Status status_;
};

// Throws Error(bad_argument) for a value that is not in [low, high].
template <class T>
void require_range(const std::string& name, T value, T low, T high) {
  if (value >= low && value <= high) return;
  throw Error(Status::bad_argument,
              name + ": expected " + std::to_string(low) + " to " + std::to_string(high) + ", found " + std::to_string(value));
}

}  // namespace q3e
