// Reads that the kernel carries out while we compute: the least of Linux's io_uring that this takes.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

struct io_uring_sqe;
struct io_uring_cqe;

namespace q3e {

// Used by one thread at a time.
class Uring {
 public:
  static constexpr uint32_t kDepth = 256;  // reads in flight at most

  // Null where the kernel has no io_uring, or a sandbox refuses it; a filter that kills for the attempt is why it can be chosen.
  static std::unique_ptr<Uring> open();
  ~Uring();
  Uring(const Uring&) = delete;
  Uring& operator=(const Uring&) = delete;

  uint32_t in_flight() const { return in_flight_; }
  // Queues a read; in_flight() must be below kDepth. `tag` comes back with its result.
  // elsewhere: `enter` does not even begin it, threads of the kernel do.
  void prepare(int fd, uint64_t offset, uint32_t bytes, void* to, uint64_t tag, bool elsewhere);
  // Hands to the kernel what was queued, and waits for `wanted` results. False when the kernel refuses.
  bool enter(uint32_t wanted);
  struct Result {
    uint64_t tag;
    int32_t value;  // bytes, or -errno
  };
  bool next(Result& result);  // false: none is there

 private:
  Uring() = default;

  int fd_ = -1;
  uint32_t in_flight_ = 0, queued_ = 0;
  void *rings_ = nullptr, *entries_ = nullptr;
  size_t rings_bytes_ = 0, entries_bytes_ = 0;
  std::atomic<uint32_t>*sq_tail_ = nullptr, *cq_head_ = nullptr, *cq_tail_ = nullptr;
  uint32_t *sq_array_ = nullptr, sq_mask_ = 0, cq_mask_ = 0;
  io_uring_sqe* sqes_ = nullptr;
  io_uring_cqe* cqes_ = nullptr;
};

}  // namespace q3e
