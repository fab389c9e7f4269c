// Memory that reads are on their way into.
#pragma once

#include <cstddef>
#include <cstdint>

namespace q3e {

// Page-aligned, its pages made when they are touched. A child has none of it: a fork in the middle of a direct read would leave
// the parent without what is read (open(2)), and what the child would see of it is half a read.
class ReadBuffer {
 public:
  // Throws Error(out_of_memory), in which `purpose` says what it is for.
  ReadBuffer(size_t nbytes, const char* purpose);
  ~ReadBuffer();
  ReadBuffer(const ReadBuffer&) = delete;
  ReadBuffer& operator=(const ReadBuffer&) = delete;

  uint8_t* data() const { return data_; }

 private:
  uint8_t* data_;
  size_t nbytes_;
};

}  // namespace q3e
