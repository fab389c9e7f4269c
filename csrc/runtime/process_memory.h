// What the operating system says of this process's memory. Bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace q3e {

uint64_t resident_bytes();       // VmRSS
uint64_t peak_resident_bytes();  // VmHWM
// What this process holds now, mapping by mapping, which is exact where the kernel's sums may lag behind.
struct HeldMemory {
  uint64_t bytes;         // resident, outside of [file, file + nbytes)
  uint64_t code_to_come;  // of the core's own code, what is not resident yet
};
HeldMemory held_memory(const void* file, size_t nbytes);
// min(what the control groups leave, MemAvailable) + what this process holds already, less a sixteenth, at most 512 MiB; 0 where
// neither can be read. root: where the file system begins, for tests.
uint64_t default_budget(const std::string& root = "");

}  // namespace q3e
