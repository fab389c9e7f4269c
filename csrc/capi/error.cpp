// What is known about this library, and the text of a thread's last error.
#include <string>

#include "capi/guard.h"
#include "text/utf8.h"

namespace q3e::capi {
namespace {

thread_local std::string error_text = "no error";

}  // namespace

void set_error_text(std::string_view text) noexcept {
  try {
    std::string clean;
    append_clean_utf8(text, clean);
    error_text = std::move(clean);
  } catch (...) {
    error_text = "out of memory";  // fits the string's own buffer
  }
}

}  // namespace q3e::capi

const char* q3e_error_text(void) { return q3e::capi::error_text.c_str(); }

const char* q3e_version(void) { return Q3E_VERSION; }

uint32_t q3e_abi(void) { return Q3E_ABI; }
