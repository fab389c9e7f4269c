// Large reads from a file, several in flight while we compute, around the page cache.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "base/process.h"
#include "io/direct_file.h"
#include "io/uring.h"

namespace q3e {

// Bytes on their way into memory. Stays where it is, and so does what it fills, until DirectReader::finish.
struct FileRead {
  uint64_t offset = 0;
  size_t bytes = 0;   // offset, bytes and `to` are multiples of DirectFile::kAlignment
  size_t needed = 0;  // bytes that the file must have: its last page may be short
  uint8_t* to = nullptr;
  bool fresh =
      false;  // `to` was never touched: making its pages takes longer than reading them, so that `start` leaves it to others
  uint32_t missing = 0;  // parts that are not there yet; the reader's, as is the error
  int error = 0;
};

// How reads are carried out: by the kernel, or by threads of our own where it refuses.
enum class ReadMethod { uring, threads };

// Called from one thread at a time, in the process that made it: a child neither uses nor destroys it (OwnedAtHome).
class DirectReader {
 public:
  static constexpr int kThreads = 4;

  // method: the first to try; QWEN3EDGE_READER=threads chooses these in any case. Throws Error(out_of_memory) when no thread can
  // start.
  DirectReader(const DirectFile& file, ReadMethod method);
  ~DirectReader();  // waits for what is in flight
  DirectReader(const DirectReader&) = delete;
  DirectReader& operator=(const DirectReader&) = delete;

  // In a child: what it has of the ring goes, which the parent keeps.
  void abandon() noexcept { ring_.reset(); }

  ReadMethod method() const { return ring_ ? ReadMethod::uring : ReadMethod::threads; }

  void start(FileRead& read) noexcept;
  // Whether `finish` would not wait.
  bool is_there(const FileRead& read) noexcept;
  // Waits until all of it is there. Returns 0 or a code for DirectFile::failure.
  int finish(FileRead& read) noexcept;

  uint64_t bytes_read() const { return bytes_read_; }
  double seconds_waited() const { return seconds_waited_; }  // in `finish`

 private:
  struct Part {
    FileRead* read = nullptr;
    uint64_t offset = 0;
    size_t bytes = 0, needed = 0;
    uint8_t* to = nullptr;
  };
  void submit();
  void reap();
  int read_now(const Part& part) const { return file_.read(part.offset, part.bytes, part.needed, part.to); }
  void complete(const Part& part, int error);
  void serve();
  void stop();

  const DirectFile& file_;
  std::unique_ptr<Uring> ring_;
  std::deque<Part> waiting_;          // not begun
  std::vector<Part> flying_;          // [Uring::kDepth], by the ring's tags
  std::vector<uint32_t> free_;        // of these
  std::vector<std::thread> threads_;  // when there is no ring; the mutex guards `waiting_`, `missing` and `error` then
  std::mutex mutex_;
  std::condition_variable work_, done_;
  bool stopping_ = false;
  uint64_t bytes_read_ = 0;
  double seconds_waited_ = 0;
};

}  // namespace q3e
