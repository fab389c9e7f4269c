// The CPU quota and the memory that Linux's control groups leave this process.
#pragma once

#include <cstdint>
#include <string>

namespace q3e {

// Cores, perhaps a fraction: the smallest quota of the process's own group and of all groups above it, of version 2 and of
// version 1's cpu controller; 0 when there is none. root: where the file system begins, for tests.
double cgroup_cores(const std::string& root = "");
// Bytes that these groups leave to this process: of each the limit at which it is killed or slowed down, less what others hold in
// it. Cached pages of files do not count, as in MemAvailable: the kernel takes them first, and a model's are there from its last
// run. own: what this process holds besides such pages. The largest uint64 when no group has a limit.
uint64_t cgroup_memory_left(uint64_t own, const std::string& root = "");

}  // namespace q3e
