// How exceptions become statuses, and their texts what q3e_error_text says.
#pragma once

#include <new>
#include <string_view>

#include "base/error.h"
#include "qwen3edge.h"

namespace q3e::capi {

void set_error_text(std::string_view text) noexcept;

template <class F>
q3e_status guarded(F&& f) noexcept {
  try {
    f();
    return Q3E_OK;
  } catch (const Error& e) {
    set_error_text(e.what());
    return static_cast<q3e_status>(e.status());
  } catch (const std::bad_alloc&) {
    set_error_text("out of memory");
    return Q3E_OUT_OF_MEMORY;
  } catch (...) {
    set_error_text("internal error");
    return Q3E_INTERNAL;
  }
}

inline void require(bool condition, const char* text) {
  if (!condition) throw Error(Status::bad_argument, text);
}

}  // namespace q3e::capi
