// What the operating system says of this process's memory. Bytes.
#pragma once

#include <cstddef>
#include <cstdint>

namespace q3e {

uint64_t resident_bytes();       // VmRSS
uint64_t peak_resident_bytes();  // VmHWM
// Of [begin, begin + nbytes), a mapping of a file: the part that is resident in this process now.
uint64_t resident_bytes_of(const void* begin, size_t nbytes);
// min(cgroup limit, MemAvailable + what this process holds already).
uint64_t default_budget();

}  // namespace q3e
