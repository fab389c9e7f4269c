#include "io/direct_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace q3e {

DirectFile::DirectFile(const std::string& path, const FileIdentity& expected) : path_(path) {
  const auto is_expected = [&](int fd) {
    struct stat info;
    return fstat(fd, &info) == 0 && info.st_dev == expected.device && info.st_ino == expected.inode;
  };
  cached_ = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (cached_ < 0) throw Error(Status::io_error, path + ": cannot open: " + std::strerror(errno));
  if (!is_expected(cached_)) {
    close(cached_);
    throw Error(Status::io_error, path + ": expected the file that was opened before, found another one in its place");
  }
  direct_ = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECT);
  if (direct_ >= 0 && !is_expected(direct_)) {
    close(direct_);
    direct_ = -1;
  }
  direct_refused_ = direct_ < 0;
}

DirectFile::~DirectFile() {
  if (direct_ >= 0) close(direct_);
  close(cached_);
}

int DirectFile::fill(uint64_t offset, size_t bytes, size_t needed, uint8_t* to, bool around_cache) const {
  for (size_t done = 0; done < needed;) {
    const bool direct = around_cache && !direct_refused_.load(std::memory_order_relaxed) && done % kAlignment == 0;
    const ssize_t n = pread(direct ? direct_ : cached_, to + done, bytes - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EINVAL && direct) {  // some file systems allow O_DIRECT only when opening
      direct_refused_.store(true, std::memory_order_relaxed);
      continue;
    }
    if (n < 0) return errno;
    if (n == 0) return kCut;
    if (around_cache && !direct) posix_fadvise(cached_, static_cast<off_t>(offset + done), n, POSIX_FADV_DONTNEED);
    done += static_cast<size_t>(n);
  }
  return 0;
}

Error DirectFile::failure(int code) const {
  if (code == kCut) return {Status::truncated_file, path_ + ": the file shrank while it was in use"};
  return {Status::io_error, path_ + ": cannot read: " + std::strerror(code)};
}

}  // namespace q3e
