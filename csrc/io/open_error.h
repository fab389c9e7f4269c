// A file that cannot be opened, with the system's reason: callers tell an absent file from a forbidden one.
#pragma once

#include <cstring>
#include <string>

#include "base/error.h"

namespace q3e {

class OpenError : public Error {
 public:
  OpenError(const std::string& path, int code)  // code: of errno
      : Error(Status::io_error, path + ": cannot open: " + std::strerror(code)), path_(path), code_(code) {}
  const std::string& path() const { return path_; }
  int code() const { return code_; }

 private:
  std::string path_;
  int code_;
};

}  // namespace q3e
