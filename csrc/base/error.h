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
};

class Error : public std::runtime_error {
 public:
  Error(Status status, const std::string& text) : std::runtime_error(text), status_(status) {}
  Status status() const { return status_; }

 private:
  Status status_;
};

}  // namespace q3e
