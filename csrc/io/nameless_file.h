// A file in the machine's memory that no folder names; it is gone with the last who has it open or mapped.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

namespace q3e {

class NamelessFile {
 public:
  // name: what the system shows of it. Throws Error(io_error), also where the system has no such files.
  explicit NamelessFile(const char* name);
  ~NamelessFile();
  NamelessFile(const NamelessFile&) = delete;
  NamelessFile& operator=(const NamelessFile&) = delete;

  int descriptor() const { return descriptor_; }

  // Appends. told: may be null; gets how many bytes of how many were written, and what it throws ends the writing. Throws
  // Error(out_of_memory).
  void write(std::span<const uint8_t> bytes, const std::function<void(uint64_t done, uint64_t all)>& told) const;

 private:
  int descriptor_;
};

}  // namespace q3e
