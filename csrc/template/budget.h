// What is left of a rendering's bounds.
#pragma once

#include <cstdint>

#include "template/limits.h"
#include "template/value.h"

namespace q3e::chat {

// Every function throws Failure when nothing is left.
class Budget {
 public:
  void step(int64_t count);
  // A text or a list that an expression made; returns it.
  Value charge(Value value);
  void made(uint64_t characters);
  // What a comparison or a search reads.
  void compare(const Value& value);
  // What a filter or a method goes through without making it longer.
  void consume(const Value& value);

 private:
  void spend(uint64_t characters);

  int64_t steps_ = kMostSteps;
  int64_t characters_ = kMostWorkCharacters;
};

void check_characters(uint64_t count, uint64_t most = kMostCharacters);
void check_items(uint64_t count);

}  // namespace q3e::chat
