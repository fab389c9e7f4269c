// The CPU quota and the memory that Linux's control groups leave this process.
#pragma once

#include <cstdint>
#include <string>

namespace q3e {

// Cores, perhaps a fraction: the smallest quota of the process's own group and of all groups above it, of version 2 and of
// version 1's cpu controller; 0 when there is none. root: where the file system begins, for tests.
double cgroup_cores(const std::string& root = "");
// Bytes, likewise.
uint64_t cgroup_memory(const std::string& root = "");

}  // namespace q3e
