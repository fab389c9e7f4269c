#include "template/failure.h"

namespace q3e::chat {
namespace {

constexpr size_t kMostBytes = 500;

std::string worded(const std::string& reason) {
  std::string line = reason.substr(0, reason.find('\n'));
  if (line.size() > kMostBytes) {
    size_t end = kMostBytes;
    while (end > 0 && (static_cast<unsigned char>(line[end]) & 0xc0u) == 0x80u) --end;
    line.resize(end);
  }
  return "the chat template failed: " + line;
}

}  // namespace

void fail(const std::string& reason) { throw Failure(worded(reason)); }
void fail_unknown(const std::string& reason) { throw Failure(worded(reason), true); }
void beyond(const std::string& what) {
  throw Error(Status::unsupported_model, "the chat template needs " + what + ", which only jinja2 does");
}

}  // namespace q3e::chat
