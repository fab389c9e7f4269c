// Survives a file that shrinks, or a disk that fails, while it is mapped.
//
// Reading a page that the file no longer has raises SIGBUS, which kills the process. While a mapping is guarded, the handler puts
// zeros from the faulting page to the mapping's end, sets `damaged` and lets the read go on; whoever reads the mapping asks
// `damaged()` before it trusts a result. Faults anywhere else go to the handler that was there before.
#pragma once

#include <cstddef>

namespace q3e {

class FaultGuard {
 public:
  // Guards [begin, begin + nbytes), a page-aligned mapping that outlives this object. Throws Error(out_of_memory) or
  // Error(io_error).
  FaultGuard(const void* begin, size_t nbytes);
  ~FaultGuard();
  FaultGuard(const FaultGuard&) = delete;
  FaultGuard& operator=(const FaultGuard&) = delete;

  bool damaged() const;

  struct Region;  // a slot in the list that the handler walks

 private:
  Region* region_;
};

}  // namespace q3e
