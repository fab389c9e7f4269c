#include "io/direct_reader.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <exception>
#include <new>
#include <string>
#include <string_view>

namespace q3e {
namespace {

// A part is large enough for a disk's full speed, and there are enough of them to keep it busy.
constexpr size_t kPartBytes = size_t{1} << 20;
constexpr size_t kMostParts = 96;

size_t part_bytes(size_t bytes) {
  const size_t least = (bytes / kMostParts + DirectFile::kAlignment) / DirectFile::kAlignment * DirectFile::kAlignment;
  return std::max(kPartBytes, least);
}

bool wants_threads() {
  const char* method = std::getenv("QWEN3EDGE_READER");
  return method && std::string_view(method) == "threads";
}

}  // namespace

DirectReader::DirectReader(const DirectFile& file, ReadMethod method) : file_(file) {
  if (method == ReadMethod::uring && !wants_threads() && file_.descriptor() >= 0) ring_ = Uring::open();
  if (ring_) {
    flying_.resize(Uring::kDepth);
    for (uint32_t i = 0; i < Uring::kDepth; ++i) free_.push_back(i);
    return;
  }
  try {
    for (int i = 0; i < kThreads; ++i) threads_.emplace_back([this] { serve(); });
  } catch (const std::exception& e) {
    const size_t started = threads_.size();
    if (started > 0) return;  // fewer will do
    throw Error(Status::out_of_memory, std::string("reader: expected to start a thread, found no room (") + e.what() + ")");
  }
}

DirectReader::~DirectReader() {
  {
    const std::lock_guard lock(mutex_);  // threads may be taking from it
    waiting_.clear();
  }
  while (ring_ && ring_->in_flight() > 0) {
    if (!ring_->enter(1)) break;
    reap();
  }
  stop();
}

void DirectReader::start(FileRead& read) noexcept {
  read.error = 0;
  // Parts of fresh memory that share a large page would each make it.
  const size_t step = read.fresh ? read.bytes : part_bytes(read.bytes);
  std::unique_lock lock(mutex_, std::defer_lock);
  if (!ring_) lock.lock();
  read.missing = 0;
  try {
    for (size_t at = 0; at < read.needed; at += step, ++read.missing)
      waiting_.push_back(
          {&read, read.offset + at, std::min(step, read.bytes - at), std::min(step, read.needed - at), read.to + at});
  } catch (const std::bad_alloc&) {
    read.error = ENOMEM;
  }
  if (!ring_) {
    lock.unlock();
    work_.notify_all();
    return;
  }
  submit();
  reap();
}

bool DirectReader::is_there(const FileRead& read) noexcept {
  if (ring_) {
    reap();
    return read.missing == 0;
  }
  const std::lock_guard lock(mutex_);
  return read.missing == 0;
}

int DirectReader::finish(FileRead& read) noexcept {
  bytes_read_ += read.needed;
  const auto begin = std::chrono::steady_clock::now();
  if (ring_) {
    reap();
    while (read.missing > 0) {
      submit();
      if (read.missing == 0) break;                       // without the ring: O_DIRECT was refused after all
      if (ring_->in_flight() == 0 || !ring_->enter(1)) {  // the kernel takes no more of it: do what is left here
        Part part = waiting_.empty() ? Part{} : waiting_.front();
        if (!part.read) return EIO;
        waiting_.pop_front();
        complete(part, read_now(part));
      }
      reap();
    }
  } else {
    std::unique_lock lock(mutex_);
    done_.wait(lock, [&] { return read.missing == 0; });
  }
  // What failed may have failed a while ago, when it was read ahead: what counts is whether it can be read now.
  if (read.error != 0) read.error = file_.read(read.offset, read.bytes, read.needed, read.to);
  seconds_waited_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return read.error;
}

void DirectReader::complete(const Part& part, int error) {
  if (error != 0) part.read->error = error;
  --part.read->missing;
}

void DirectReader::submit() {
  bool any = false;
  while (!waiting_.empty() && !free_.empty()) {
    const int fd = file_.descriptor();
    if (fd < 0) {  // O_DIRECT is refused after all
      const Part part = waiting_.front();
      waiting_.pop_front();
      complete(part, read_now(part));
      continue;
    }
    const uint32_t tag = free_.back();
    free_.pop_back();
    flying_[tag] = waiting_.front();
    waiting_.pop_front();
    ring_->prepare(fd, flying_[tag].offset, static_cast<uint32_t>(flying_[tag].bytes), flying_[tag].to, tag,
                   flying_[tag].read->fresh);
    any = true;
  }
  if (any) ring_->enter(0);
}

// Takes what is done; a read that failed or was cut short is tried again as a plain one, which tells why.
void DirectReader::reap() {
  bool any = false;
  for (Uring::Result r; ring_->next(r); any = true) {
    const Part part = flying_[r.tag];
    free_.push_back(static_cast<uint32_t>(r.tag));
    const bool whole = r.value >= 0 && static_cast<size_t>(r.value) >= part.needed;
    complete(part, whole ? 0 : read_now(part));
  }
  if (any && !waiting_.empty()) submit();
}

void DirectReader::serve() {
  std::unique_lock lock(mutex_);
  for (;;) {
    work_.wait(lock, [&] { return stopping_ || !waiting_.empty(); });
    if (stopping_) return;
    const Part part = waiting_.front();
    waiting_.pop_front();
    lock.unlock();
    const int error = read_now(part);
    lock.lock();
    complete(part, error);
    if (part.read->missing == 0) done_.notify_all();
  }
}

void DirectReader::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  work_.notify_all();
  for (std::thread& t : threads_) t.join();
  threads_.clear();
}

}  // namespace q3e
