#include "base/cgroup.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <sstream>
#include <string_view>
#include <vector>

namespace q3e {
namespace {

// One hierarchy of groups as this process sees it.
struct Hierarchy {
  bool unified;       // version 2
  std::string group;  // the process's, from the root of the hierarchy
  std::string mount;  // where the hierarchy is mounted ...
  std::string top;    // ... from this group downwards: a container may see only its own part
};

bool lists(const std::string& words, std::string_view wanted) {
  std::istringstream in(words);
  for (std::string word; std::getline(in, word, ',');)
    if (word == wanted) return true;
  return false;
}

// Lines of /proc/self/cgroup: "0::/group" for version 2, "4:cpu,cpuacct:/group" for version 1.
std::vector<Hierarchy> hierarchies(const std::string& root, const char* controller) {
  std::vector<Hierarchy> found;
  std::ifstream file(root + "/proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == line.npos || second == line.npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    if (controllers.empty())
      found.push_back({true, line.substr(second + 1), "/sys/fs/cgroup", "/"});
    else if (lists(controllers, controller))
      found.push_back({false, line.substr(second + 1), std::string("/sys/fs/cgroup/") + controller, "/"});
  }
  return found;
}

// Lines of /proc/self/mountinfo: "30 24 0:26 /top /mount rw,... shared:4 - cgroup2 cgroup2 rw,..."; the last word of version 1
// lists its controllers.
void find_mounts(const std::string& root, const char* controller, std::vector<Hierarchy>& found) {
  std::ifstream file(root + "/proc/self/mountinfo");
  for (std::string line; std::getline(file, line);) {
    const size_t dash = line.find(" - ");
    if (dash == line.npos) continue;
    std::istringstream before(line.substr(0, dash)), after(line.substr(dash + 3));
    std::string skipped, top, mount, type, source, options;
    before >> skipped >> skipped >> skipped >> top >> mount;
    after >> type >> source >> options;
    for (Hierarchy& h : found)
      if (h.unified ? type == "cgroup2" : type == "cgroup" && lists(options, controller)) h.mount = mount, h.top = top;
  }
}

// Of one group; 0 when it has none.
double quota_of(const std::string& folder, bool unified) {
  double quota = 0, period = 0;
  if (unified) {
    std::string first;  // "max" or microseconds
    std::ifstream file(folder + "/cpu.max");
    if (file >> first >> period) quota = std::strtod(first.c_str(), nullptr);
  } else {
    std::ifstream(folder + "/cpu.cfs_quota_us") >> quota;  // -1: none
    std::ifstream(folder + "/cpu.cfs_period_us") >> period;
  }
  return quota > 0 && period > 0 ? quota / period : 0;
}

constexpr double kNoLimit = std::numeric_limits<double>::infinity();

// A number alone in a file; `otherwise` when there is none, or "max".
double number_in(const std::string& path, double otherwise) {
  double number = otherwise;
  std::ifstream file(path);
  return file >> number ? number : otherwise;
}

// Cached pages of files. Version 1 has the sums of a group and those below it under names of their own.
double cached_in(const std::string& folder, bool unified) {
  const std::string before = unified ? "" : "total_";
  std::ifstream file(folder + "/memory.stat");
  double sum = 0, bytes = 0;
  for (std::string name; file >> name >> bytes;)
    if (name == before + "inactive_file" || name == before + "active_file") sum += bytes;
  return sum;
}

// Bytes that a group leaves. Version 1 writes the largest number of whole pages for no limit.
double memory_left_of(const std::string& folder, bool unified, double own) {
  const double limit = unified
                           ? std::min(number_in(folder + "/memory.max", kNoLimit), number_in(folder + "/memory.high", kNoLimit))
                           : number_in(folder + "/memory.limit_in_bytes", kNoLimit);
  if (limit > 4e18) return kNoLimit;
  const double used = number_in(folder + (unified ? "/memory.current" : "/memory.usage_in_bytes"), 0);
  const double others = used - cached_in(folder, unified) - own;
  return std::max(1.0, limit - std::max(0.0, others));
}

// The least that the process's own group and all groups above it allow; 0 when none has a limit.
template <class F>
double least_of(const std::string& root, const char* controller, F&& limit_of) {
  std::vector<Hierarchy> found = hierarchies(root, controller);
  find_mounts(root, controller, found);
  double least = 0;
  for (const Hierarchy& h : found) {
    // From the mount down to the group. A group outside of what is mounted ("/../x") leaves the mount's own limit.
    std::string below = h.group;
    if (h.top != "/") below = (below + "/").starts_with(h.top + "/") ? below.substr(h.top.size()) : "";
    if (below == "/" || below.find("/..") != below.npos) below.clear();
    for (;; below.resize(below.rfind('/'))) {
      const double limit = limit_of(root + h.mount + below, h.unified);
      if (limit > 0 && (least == 0 || limit < least)) least = limit;
      if (below.find('/') == below.npos) break;
    }
  }
  return least;
}

}  // namespace

double cgroup_cores(const std::string& root) { return least_of(root, "cpu", quota_of); }

uint64_t cgroup_memory_left(uint64_t own, const std::string& root) {
  const double left = least_of(root, "memory", [&](const std::string& folder, bool unified) {
    const double bytes = memory_left_of(folder, unified, static_cast<double>(own));
    return bytes < kNoLimit ? bytes : 0;
  });
  return left > 0 ? static_cast<uint64_t>(left) : std::numeric_limits<uint64_t>::max();
}

}  // namespace q3e
