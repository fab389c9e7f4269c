// What the operating system says of this process's memory. Bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace q3e {

uint64_t resident_bytes();       // VmRSS
uint64_t peak_resident_bytes();  // VmHWM
// Of [begin, begin + nbytes), a mapping of a file: the part that is resident in this process now.
uint64_t resident_bytes_of(const void* begin, size_t nbytes);
// min(cgroup limit, MemAvailable + what this process holds already), less a sixteenth, at most 512 MiB. root: where the file
// system begins, for tests.
uint64_t default_budget(const std::string& root = "");

}  // namespace q3e
