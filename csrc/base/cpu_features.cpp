#include "base/cpu_features.h"

#include <sched.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "base/cgroup.h"
#include "base/error.h"
#include "base/tiers.h"

#if defined(__linux__)
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <unistd.h>
#elif defined(__APPLE__)
#include <sys/sysctl.h>
#elif defined(_WIN32)
#include <windows.h>
#endif
#if defined(__x86_64__)
#include <cpuid.h>
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

#if defined(__linux__) && defined(Q3E_TIER_RVV)
// The kernel's own word, from 6.5 on. The flag of the auxiliary vector alone may stand for the vectors of 2019 (0.7.1), which
// others made before there was a standard; but in them what vsetvli is asked for here does not exist, which sets vtype's top bit.
bool has_vectors() {
  struct {
    int64_t key;
    uint64_t value;
  } pair{4, 0};                        // RISCV_HWPROBE_KEY_IMA_EXT_0
  constexpr long kHwprobe = 258;       // __NR_riscv_hwprobe
  constexpr uint64_t kImaV = 1u << 2;  // RISCV_HWPROBE_IMA_V
  constexpr unsigned long kVectors = 1ul << ('V' - 'A');
  if (syscall(kHwprobe, &pair, 1, 0, nullptr, 0) == 0 && pair.key == 4) return pair.value & kImaV;
  if (!(getauxval(AT_HWCAP) & kVectors)) return false;
  long length, type;
  __asm__ volatile(".option push\n\t.option arch, +v\n\tvsetvli %0, zero, e32, mf2, ta, ma\n\tcsrr %1, vtype\n\t.option pop"
                   : "=r"(length), "=r"(type));
  return type >= 0 && length >= 2;
}
#endif

constexpr uint32_t bit(Isa isa) { return 1u << static_cast<int>(isa); }

// Of the tiers that this build has.
#define TIER(name) | bit(Isa::name)
constexpr uint32_t kBuilt = bit(Isa::scalar) Q3E_TIERS(TIER);
#undef TIER

// Of those that this machine can run.
uint32_t find_tiers() {
  uint32_t found = 0;
  const auto add = [&](Isa isa, bool there) {
    if (there) found |= bit(isa);
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
#elif defined(__aarch64__)
  add(Isa::neon, true);
#if defined(__linux__)
  constexpr unsigned long kDotProducts = 1ul << 20, kMatrices = 1ul << 13;  // HWCAP_ASIMDDP, HWCAP2_I8MM
  const bool dot_products = add(Isa::dotprod, (getauxval(AT_HWCAP) & kDotProducts) != 0);
  add(Isa::i8mm, dot_products && (getauxval(AT_HWCAP2) & kMatrices) != 0);
#elif defined(__APPLE__)
  const auto has = [](const char* name) {
    int value = 0;
    size_t size = sizeof value;
    return sysctlbyname(name, &value, &size, nullptr, 0) == 0 && value != 0;
  };
  add(Isa::i8mm, add(Isa::dotprod, has("hw.optional.arm.FEAT_DotProd")) && has("hw.optional.arm.FEAT_I8MM"));
#elif defined(_WIN32)
  constexpr DWORD kDotProducts = 43;  // PF_ARM_V82_DP_INSTRUCTIONS_AVAILABLE
  add(Isa::dotprod, IsProcessorFeaturePresent(kDotProducts));
#endif
#elif defined(__linux__) && defined(Q3E_TIER_RVV)
  add(Isa::rvv, has_vectors());
#endif
  return found;
}

}  // namespace

const char* isa_name(Isa isa) {
  static constexpr const char* kNames[] = {"scalar", "avx2", "avxvnni", "avx512", "amx", "neon", "dotprod", "i8mm", "rvv"};
  return kNames[static_cast<size_t>(isa)];
}

bool isa_supported(Isa isa) {
  static const uint32_t tiers = find_tiers() & kBuilt;
  return tiers & bit(isa);
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
