#include "io/uring.h"

#include <linux/io_uring.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>

namespace q3e {

std::unique_ptr<Uring> Uring::open() {
#if defined(__ANDROID__)
  return nullptr;  // its filter for apps does not refuse the call, but ends the process
#endif
  io_uring_params p{};
  const int fd = static_cast<int>(syscall(__NR_io_uring_setup, kDepth, &p));
  if (fd < 0) return nullptr;
  // One mapping for both rings came with 5.4, IORING_OP_READ with 5.6, as IORING_FEAT_RW_CUR_POS did.
  const auto wanted = IORING_FEAT_SINGLE_MMAP | IORING_FEAT_NODROP | IORING_FEAT_RW_CUR_POS;
  std::unique_ptr<Uring> ring(new (std::nothrow) Uring);
  if (!ring || (p.features & wanted) != wanted) {
    close(fd);
    return nullptr;
  }
  ring->fd_ = fd;
  ring->rings_bytes_ =
      std::max(p.sq_off.array + p.sq_entries * sizeof(uint32_t), p.cq_off.cqes + p.cq_entries * sizeof(io_uring_cqe));
  ring->entries_bytes_ = p.sq_entries * sizeof(io_uring_sqe);
  const int access = PROT_READ | PROT_WRITE, shared = MAP_SHARED | MAP_POPULATE;
  void* rings = mmap(nullptr, ring->rings_bytes_, access, shared, fd, IORING_OFF_SQ_RING);
  if (rings == MAP_FAILED) return nullptr;
  ring->rings_ = rings;
  void* entries = mmap(nullptr, ring->entries_bytes_, access, shared, fd, IORING_OFF_SQES);
  if (entries == MAP_FAILED) return nullptr;
  ring->entries_ = entries;
  auto* base = static_cast<uint8_t*>(rings);
  const auto counter = [&](uint32_t offset) { return reinterpret_cast<std::atomic<uint32_t>*>(base + offset); };
  ring->sq_tail_ = counter(p.sq_off.tail);
  ring->cq_head_ = counter(p.cq_off.head);
  ring->cq_tail_ = counter(p.cq_off.tail);
  std::memcpy(&ring->sq_mask_, base + p.sq_off.ring_mask, sizeof(uint32_t));
  std::memcpy(&ring->cq_mask_, base + p.cq_off.ring_mask, sizeof(uint32_t));
  ring->sq_array_ = reinterpret_cast<uint32_t*>(base + p.sq_off.array);
  ring->sqes_ = static_cast<io_uring_sqe*>(entries);
  ring->cqes_ = reinterpret_cast<io_uring_cqe*>(base + p.cq_off.cqes);
  return ring;
}

Uring::~Uring() {
  if (entries_) munmap(entries_, entries_bytes_);
  if (rings_) munmap(rings_, rings_bytes_);
  if (fd_ >= 0) close(fd_);
}

void Uring::prepare(int fd, uint64_t offset, uint32_t bytes, void* to, uint64_t tag, bool elsewhere) {
  const uint32_t tail = sq_tail_->load(std::memory_order_relaxed), index = tail & sq_mask_;
  io_uring_sqe& entry = sqes_[index];
  std::memset(&entry, 0, sizeof entry);
  entry.opcode = IORING_OP_READ;
  entry.flags = elsewhere ? IOSQE_ASYNC : 0;
  entry.fd = fd;
  entry.off = offset;
  entry.addr = reinterpret_cast<uint64_t>(to);
  entry.len = bytes;
  entry.user_data = tag;
  sq_array_[index] = index;
  sq_tail_->store(tail + 1, std::memory_order_release);
  ++queued_;
  ++in_flight_;
}

bool Uring::enter(uint32_t wanted) {
  while (queued_ > 0 || wanted > 0) {
    const long taken = syscall(__NR_io_uring_enter, fd_, queued_, wanted, wanted ? IORING_ENTER_GETEVENTS : 0, nullptr, 0);
    if (taken < 0 && (errno == EINTR || errno == EAGAIN || errno == EBUSY)) {
      if (errno != EINTR && cq_head_->load(std::memory_order_relaxed) != cq_tail_->load(std::memory_order_acquire)) return true;
      continue;
    }
    if (taken < 0) return false;
    queued_ -= std::min(queued_, static_cast<uint32_t>(taken));
    if (queued_ == 0) return true;
  }
  return true;
}

bool Uring::next(Result& result) {
  const uint32_t head = cq_head_->load(std::memory_order_relaxed);
  if (head == cq_tail_->load(std::memory_order_acquire)) return false;
  const io_uring_cqe& entry = cqes_[head & cq_mask_];
  result = {entry.user_data, entry.res};
  cq_head_->store(head + 1, std::memory_order_release);
  --in_flight_;
  return true;
}

}  // namespace q3e
