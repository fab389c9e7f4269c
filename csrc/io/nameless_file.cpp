#include "io/nameless_file.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>

#include "base/error.h"

namespace q3e {
namespace {

constexpr unsigned kCloseOnExec = 1;        // MFD_CLOEXEC, which old headers do not have, nor the function
constexpr size_t kPiece = size_t{4} << 20;  // after which it is told

int nameless([[maybe_unused]] const char* name) {
#if defined(SYS_memfd_create)
  return static_cast<int>(syscall(SYS_memfd_create, name, kCloseOnExec));
#else
  errno = ENOSYS;
  return -1;
#endif
}

[[noreturn]] void fail(Status status, const char* what) {
  throw Error(status, std::string("a file without a name: cannot ") + what + ": " + std::strerror(errno));
}

}  // namespace

NamelessFile::NamelessFile(const char* name) : descriptor_(nameless(name)) {
  if (descriptor_ < 0) fail(Status::io_error, "make it");
}

NamelessFile::~NamelessFile() { close(descriptor_); }

void NamelessFile::write(std::span<const uint8_t> bytes, const std::function<void(uint64_t, uint64_t)>& told) const {
  for (size_t done = 0; done < bytes.size();) {
    const ssize_t n = ::write(descriptor_, bytes.data() + done, std::min(kPiece, bytes.size() - done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) fail(Status::out_of_memory, "write it");
    done += static_cast<size_t>(n);
    if (told) told(done, bytes.size());
  }
}

}  // namespace q3e
