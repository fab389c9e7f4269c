#include "base/cpu_features.h"

#include <sched.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "base/cgroup.h"
#include "base/error.h"

#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif
#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace q3e {
namespace {

#if defined(__x86_64__)
// The tiles' 8 KB are not part of a thread's saved state until the process asks for it, once for all its threads. The operating
// system refuses when it is old, or when a signal stack is too small for the larger frame.
bool tile_permission() {
#if defined(__linux__)
  constexpr long kRequest = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, kRequest, kTileData) == 0;
#else
  return false;
#endif
}
#endif

// Bits by Isa: of the tiers that this machine can run.
uint32_t find_tiers() {
  uint32_t found = 0;
  const auto add = [&](Isa isa, bool there) {
    found |= uint32_t{there} << static_cast<int>(isa);
    return there;
  };
  add(Isa::scalar, true);
#if defined(__x86_64__)
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (!__get_cpuid(1, &a, &b, &c, &d)) return found;
  const bool osxsave = c & (1u << 27), fma = c & (1u << 12), f16c = c & (1u << 29);
  if (!osxsave) return found;
  uint32_t low = 0, high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  const bool ymm = (low & 0x6) == 0x6, zmm = (low & 0xe6) == 0xe6;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return found;
  const bool avx2 = add(Isa::avx2, ymm && fma && f16c && (b & (1u << 5)));
  const bool f = b & (1u << 16), dq = b & (1u << 17), bw = b & (1u << 30), vl = b & (1u << 31), vnni = c & (1u << 11);
  const bool avx512 = add(Isa::avx512, zmm && avx2 && f && dq && bw && vl && vnni);
  add(Isa::amx, avx512 && (low & 0x60000) == 0x60000 && (d & (1u << 24)) && (d & (1u << 25)) && tile_permission());
  if (a >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d)) add(Isa::avxvnni, avx2 && (a & (1u << 4)));
#elif defined(__aarch64__) && defined(__linux__)
  constexpr unsigned long kDotProducts = 1ul << 20;  // HWCAP_ASIMDDP
  add(Isa::neon, (getauxval(AT_HWCAP) & kDotProducts) != 0);
#endif
  return found;
}

}  // namespace

const char* isa_name(Isa isa) {
  static constexpr const char* kNames[] = {"scalar", "avx2", "avxvnni", "avx512", "amx", "neon"};
  return kNames[static_cast<size_t>(isa)];
}

bool isa_supported(Isa isa) {
  static const uint32_t tiers = find_tiers();
  return tiers >> static_cast<int>(isa) & 1;
}

std::vector<Isa> supported_isas() {
  std::vector<Isa> out;
  for (Isa isa : kAllIsas)
    if (isa_supported(isa)) out.push_back(isa);
  return out;
}

Isa parse_isa(std::string_view name) {
  std::string known;
  for (Isa isa : supported_isas()) {
    if (name == isa_name(isa)) return isa;
    known += (known.empty() ? "" : ", ") + std::string(isa_name(isa));
  }
  throw Error(Status::bad_argument,
              "instruction set: expected one of " + known + " on this machine, found '" + std::string(name) + "'");
}

Isa best_isa() {
  if (const char* forced = std::getenv("QWEN3EDGE_ISA"); forced && *forced) return parse_isa(forced);
  return supported_isas().back();
}

int usable_cores(const std::string& root) {
  cpu_set_t set;
  CPU_ZERO(&set);
  int cores = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
  // Whole cores only. A group that has spent its quota stands still for the rest of the period (mostly 100 ms), and it runs out
  // on one core before the other: at every barrier the threads that still run then spin away the quota of the next step. With
  // 1.5 cores two threads would stall for a quarter of the time, in the middle of tokens; one thread never stalls.
  if (const double quota = cgroup_cores(root); quota > 0 && quota < cores) cores = static_cast<int>(quota);
  return std::max(cores, 1);
}

}  // namespace q3e
