#include "io/read_buffer.h"

#include <sys/mman.h>

#include <string>

#include "base/error.h"

namespace q3e {

ReadBuffer::ReadBuffer(size_t nbytes, const char* purpose) : nbytes_(nbytes) {
  void* p = mmap(nullptr, nbytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED)
    throw Error(Status::out_of_memory, std::string(purpose) + ": expected " + std::to_string(nbytes) + " bytes, found none");
  data_ = static_cast<uint8_t*>(p);
  madvise(p, nbytes, MADV_HUGEPAGE);  // of fewer pieces: faster to make, and to read into
  madvise(p, nbytes, MADV_DONTFORK);
}

ReadBuffer::~ReadBuffer() { munmap(data_, nbytes_); }

}  // namespace q3e
