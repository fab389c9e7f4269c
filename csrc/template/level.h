// How deep what runs lies in one another: the stack of the thread bounds it.
#pragma once

#include <cstdint>

#include "template/failure.h"
#include "template/limits.h"

namespace q3e::chat {

// Of one rendering.
struct Depth {
  uint32_t levels = 0;
  uintptr_t stack = 0;  // where the first of them began
};

class Level {
 public:
  explicit Level(Depth& depth) : depth_(depth) {
    // The frame itself, as sanitizers put locals elsewhere.
    const auto here = reinterpret_cast<uintptr_t>(__builtin_frame_address(0));
    if (depth_.levels == 0) depth_.stack = here;
    const uintptr_t taken = here < depth_.stack ? depth_.stack - here : here - depth_.stack;
    if (depth_.levels >= kMostDepth || taken > kMostStackBytes) fail("it is nested too deeply");
    ++depth_.levels;
  }
  ~Level() { --depth_.levels; }
  Level(const Level&) = delete;
  Level& operator=(const Level&) = delete;

 private:
  Depth& depth_;
};

}  // namespace q3e::chat
