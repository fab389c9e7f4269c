// What an answer may go on with: a grammar's part in picking a token.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "runtime/sampler.h"

namespace q3e {

class Constraint {
 public:
  virtual ~Constraint() = default;
  // tokens: of the answer, that were picked since the last call. Returns what may come next, valid until the next call; none:
  // anything. Called before a step is computed, by the thread that runs it. What it throws ends the answer.
  virtual std::optional<TokenMask> allow(std::span<const int32_t> tokens) = 0;
  // Whether it can go back; without, nothing is drafted for its answer.
  virtual bool rewinds() const { return false; }
  // The last `count` tokens were not picked after all.
  virtual void rewind(size_t /*count*/) {}
};

}  // namespace q3e
