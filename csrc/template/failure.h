// What ends a rendering before its end.
#pragma once

#include <string>

#include "base/error.h"

namespace q3e::chat {

// The template refuses the messages, fails or leaves its bounds. The texts are those of the same template in jinja2.
class Failure : public Error {
 public:
  // unknown_here: of something that is not known or not allowed, so that another template would help.
  explicit Failure(const std::string& text, bool unknown_here = false)
      : Error(Status::template_error, text), unknown_here_(unknown_here) {}
  bool unknown_here() const { return unknown_here_; }

 private:
  bool unknown_here_;
};

// An expression that cannot be computed: what Python says of it, up to the first line's end.
[[noreturn]] void fail(const std::string& reason);
// A name that is not there, or what no template may do.
[[noreturn]] void fail_unknown(const std::string& reason);
// The template is sound, but needs what only jinja2 does: Error(unsupported_model).
[[noreturn]] void beyond(const std::string& what);

}  // namespace q3e::chat
