// A file that is read around the page cache: what a memory budget counts must not come back as cached pages.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>

#include "base/error.h"

namespace q3e {

// Which file a path led to when it was first opened.
struct FileIdentity {
  dev_t device = 0;
  ino_t inode = 0;
};

class DirectFile {
 public:
  static constexpr size_t kAlignment = 4096;  // of offsets, sizes and addresses; a disk's sectors are no larger
  static constexpr int kCut = -1;             // the file ends before what is needed

  // Throws Error(io_error) when the path cannot be opened or leads to another file by now.
  DirectFile(const std::string& path, const FileIdentity& expected);
  ~DirectFile();
  DirectFile(const DirectFile&) = delete;
  DirectFile& operator=(const DirectFile&) = delete;

  // Fills to[bytes] from `offset`; at least `needed` bytes must be there, the last page may reach past the end of the file. All
  // but `needed` are multiples of kAlignment. Returns 0, an errno, or kCut. Does not throw.
  int read(uint64_t offset, size_t bytes, size_t needed, uint8_t* to) const { return fill(offset, bytes, needed, to, true); }
  // The same through the page cache, for a few bytes that are likely to be read again: nothing needs to be aligned.
  int read_cached(uint64_t offset, size_t bytes, uint8_t* to) const { return fill(offset, bytes, bytes, to, false); }

  int descriptor() const { return direct_refused_.load(std::memory_order_relaxed) ? -1 : direct_; }  // -1: use read()
  const std::string& path() const { return path_; }
  Error failure(int code) const;  // truncated_file or io_error

 private:
  int fill(uint64_t offset, size_t bytes, size_t needed, uint8_t* to, bool around_cache) const;

  std::string path_;
  int cached_ = -1;
  int direct_ = -1;                                 // -1: the file system refused O_DIRECT ...
  mutable std::atomic<bool> direct_refused_{true};  // ... or its first read
};

// The pages of a direct read that holds bytes [begin, end).
inline uint64_t page_floor(uint64_t begin) { return begin / DirectFile::kAlignment * DirectFile::kAlignment; }
inline uint64_t page_ceil(uint64_t end) { return page_floor(end + DirectFile::kAlignment - 1); }

}  // namespace q3e
