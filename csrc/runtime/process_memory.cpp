#include "runtime/process_memory.h"

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <limits>
#include <string>

#include "base/cgroup.h"

namespace q3e {
namespace {

// What the system and others may need besides: page tables, the page cache of other files, a neighbour that grows.
constexpr uint64_t kMostMargin = uint64_t{512} << 20;

// The number of kB behind "key:" in a file of /proc, 0 when it is absent.
uint64_t proc_kilobytes(const char* path, const char* key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);)
    if (line.rfind(key, 0) == 0) return std::strtoull(line.c_str() + std::strlen(key), nullptr, 10) * 1024;
  return 0;
}

}  // namespace

uint64_t resident_bytes() { return proc_kilobytes("/proc/self/status", "VmRSS:"); }
uint64_t peak_resident_bytes() { return proc_kilobytes("/proc/self/status", "VmHWM:"); }

HeldMemory held_memory(const void* file, size_t nbytes) {
  const auto file_begin = reinterpret_cast<uint64_t>(file), file_end = file_begin + nbytes;
  const auto code = reinterpret_cast<uint64_t>(&held_memory);
  std::ifstream smaps("/proc/self/smaps");
  HeldMemory held{};
  uint64_t begin = 0, end = 0;
  for (std::string line; std::getline(smaps, line);) {
    uint64_t from = 0, to = 0;
    if (std::sscanf(line.c_str(), "%" SCNx64 "-%" SCNx64 " ", &from, &to) == 2) {
      begin = from, end = to;
    } else if (line.rfind("Rss:", 0) == 0) {
      const uint64_t resident = std::strtoull(line.c_str() + 4, nullptr, 10) * 1024;
      if (begin < file_begin || begin >= file_end) held.bytes += resident;
      if (begin <= code && code < end) held.code_to_come = end - begin - std::min(end - begin, resident);
    }
  }
  return held;
}

uint64_t default_budget(const std::string& root) {
  const uint64_t held = resident_bytes(), available = proc_kilobytes((root + "/proc/meminfo").c_str(), "MemAvailable:");
  const uint64_t left = cgroup_memory_left(proc_kilobytes("/proc/self/status", "RssAnon:"), root);
  if (available == 0 && left == std::numeric_limits<uint64_t>::max()) return 0;
  const uint64_t budget = available == 0 ? left : std::min(available + held, left);
  return budget - std::min(budget / 16, kMostMargin);
}

}  // namespace q3e
