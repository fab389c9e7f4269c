#include "io/fault_guard.h"

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <mutex>
#include <new>
#include <string>

#include "base/error.h"
#include "base/process.h"

namespace q3e {

// Regions are never freed, only reused, so that a handler on another thread can walk the list without a lock.
struct FaultGuard::Region {
  std::atomic<uintptr_t> begin{0};  // 0: free
  std::atomic<uintptr_t> end{0};
  std::atomic<bool> damaged{false};
  Region* next = nullptr;
};

namespace {

std::atomic<FaultGuard::Region*> regions{nullptr};

// Never destroyed: threads may still be at work when the process ends.
ForkMutex& regions_mutex() {
  static ForkMutex& mutex = *new ForkMutex;
  return mutex;
}
struct sigaction previous_action;
uintptr_t page_bytes = 4096;

FaultGuard::Region* find_region(uintptr_t address) {
  for (FaultGuard::Region* r = regions.load(std::memory_order_acquire); r; r = r->next) {
    const uintptr_t begin = r->begin.load(std::memory_order_acquire);
    if (begin != 0 && address >= begin && address < r->end.load(std::memory_order_acquire)) return r;
  }
  return nullptr;
}

// mmap is not on POSIX's list of calls for handlers; on Linux it is a plain system call without locks of the C library.
bool cover_with_zeros(FaultGuard::Region& region, uintptr_t address) {
  const uintptr_t page = address & ~(page_bytes - 1);
  const uintptr_t end = (region.end.load(std::memory_order_acquire) + page_bytes - 1) & ~(page_bytes - 1);
  region.damaged.store(true, std::memory_order_release);
  return mmap(reinterpret_cast<void*>(page), end - page, PROT_READ, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
              0) != MAP_FAILED;
}

void on_bus_error(int signal, siginfo_t* info, void* context) {
  const int saved_errno = errno;
  const auto address = reinterpret_cast<uintptr_t>(info->si_addr);
  // si_code <= 0: sent by kill() or raise(), with no faulting address.
  FaultGuard::Region* region = info->si_code > 0 ? find_region(address) : nullptr;
  if (region && cover_with_zeros(*region, address)) {
    errno = saved_errno;
    return;
  }
  if (previous_action.sa_flags & SA_SIGINFO) {
    previous_action.sa_sigaction(signal, info, context);
  } else if (previous_action.sa_handler != SIG_DFL && previous_action.sa_handler != SIG_IGN) {
    previous_action.sa_handler(signal);
  } else if (previous_action.sa_handler == SIG_IGN && info->si_code <= 0) {
    // A signal that somebody sent, and that the program had chosen to ignore.
  } else {
    sigaction(SIGBUS, &previous_action, nullptr);
    if (info->si_code <= 0) raise(signal);  // a real fault comes back by itself when the read is repeated
  }
  errno = saved_errno;
}

void install_handler() {
  page_bytes = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  struct sigaction action = {};
  action.sa_sigaction = on_bus_error;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigemptyset(&action.sa_mask);
  if (sigaction(SIGBUS, &action, &previous_action) != 0)
    throw Error(Status::io_error, std::string("cannot install the SIGBUS handler: ") + std::strerror(errno));
}

}  // namespace

FaultGuard::FaultGuard(const void* begin, size_t nbytes) {
  const std::lock_guard lock(regions_mutex());
  static const bool installed = (install_handler(), true);
  (void)installed;
  Region* region = regions.load(std::memory_order_relaxed);
  while (region && region->begin.load(std::memory_order_relaxed) != 0) region = region->next;
  if (!region) {
    region = new (std::nothrow) Region;
    if (!region) throw Error(Status::out_of_memory, "no memory for a guard of a mapped file");
    region->next = regions.load(std::memory_order_relaxed);
    regions.store(region, std::memory_order_release);
  }
  region->damaged.store(false, std::memory_order_relaxed);
  region->end.store(reinterpret_cast<uintptr_t>(begin) + nbytes, std::memory_order_release);
  region->begin.store(reinterpret_cast<uintptr_t>(begin), std::memory_order_release);
  region_ = region;
}

FaultGuard::~FaultGuard() {
  const std::lock_guard lock(regions_mutex());
  region_->begin.store(0, std::memory_order_release);
  region_->end.store(0, std::memory_order_release);
}

bool FaultGuard::damaged() const { return region_->damaged.load(std::memory_order_acquire); }

}  // namespace q3e
