// How deep what runs lies in one another: the stack of the thread bounds it.
#pragma once

#include <cstdint>

#include "template/failure.h"
#include "template/limits.h"

namespace q3e::chat {

class Level {
 public:
  explicit Level(uint32_t& depth) : depth_(depth) {
    if (depth_ >= kMostDepth) fail("it is nested too deeply");
    ++depth_;
  }
  ~Level() { --depth_; }
  Level(const Level&) = delete;
  Level& operator=(const Level&) = delete;

 private:
  uint32_t& depth_;
};

}  // namespace q3e::chat
