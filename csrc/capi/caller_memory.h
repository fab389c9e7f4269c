// What goes into memory of the caller's: arrays of a capacity, structures of a size.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <string_view>

#include "capi/guard.h"

namespace q3e::capi {

// As many as fit; `count` tells how many there are.
template <class From, class To>
void give(const From& items, To* out, size_t capacity, size_t* count) {
  if (out) std::copy_n(items.begin(), std::min(items.size(), capacity), out);
  *count = items.size();
}

// The same of a text, with a zero behind it where there is room for anything.
inline void give_text(std::string_view text, char* out, size_t capacity, size_t* length) {
  give(text, out, out && capacity > 0 ? capacity - 1 : 0, length);
  if (out && capacity > 0) out[std::min(text.size(), capacity - 1)] = '\0';
}

// As much as both sides know; what the caller knows beyond it is zero.
template <class T>
void give(const T& values, void* out, size_t size) {
  std::memset(out, 0, size);
  std::memcpy(out, &values, std::min(size, sizeof(T)));
}

}  // namespace q3e::capi
