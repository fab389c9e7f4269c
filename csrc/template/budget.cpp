#include "template/budget.h"

#include <string>
#include <utility>

#include "template/failure.h"

namespace q3e::chat {
namespace {

constexpr uint64_t kLong = 1024, kMany = 64;  // shorter ones are looked through for nothing: the number of steps bounds them

}  // namespace

void Budget::step(int64_t count) {
  steps_ -= count;
  if (steps_ < 0) throw Failure("expected a chat template that takes at most " + std::to_string(kMostSteps) + " steps");
}

Value Budget::charge(Value value) {
  if (value.is(Kind::text)) {
    made(value.text().characters);
  } else if (value.is(Kind::list) || value.is(Kind::dict)) {
    const bool once = value.is(Kind::list) && value.list().form == List::Form::once;
    const uint64_t count = value.is(Kind::list) ? value.list().items.size() : value.dict().items().size();
    if (!once) check_items(count);
    spend(32 * count);
    if (size_of(value) > kMostCharacters)
      throw Failure("expected values of at most " + std::to_string(kMostCharacters) + " characters in a chat template");
  }
  return value;
}

void Budget::made(uint64_t characters) {
  check_characters(characters);
  spend(characters);
}

void Budget::compare(const Value& value) {
  const uint64_t size = size_of(value);
  if (size > kLong) spend(size);
}

void Budget::consume(const Value& value) {
  if (value.is(Kind::text)) {
    if (value.text().characters > kLong) spend(value.text().characters);
  } else if (value.is(Kind::list) || value.is(Kind::dict)) {
    const uint64_t count = value.is(Kind::list) ? value.list().items.size() : value.dict().items().size();
    if (count > kMany) spend(8 * count);
  }
}

void Budget::spend(uint64_t characters) {
  characters_ -= static_cast<int64_t>(characters);
  if (characters_ < 0)
    throw Failure("expected a chat template that makes at most " + std::to_string(kMostWorkCharacters) + " characters");
}

void check_characters(uint64_t count, uint64_t most) {
  if (count > most) throw Failure("expected a prompt of at most " + std::to_string(most) + " characters");
}

void check_items(uint64_t count) {
  if (count > kMostItems) throw Failure("expected lists of at most " + std::to_string(kMostItems) + " items in a chat template");
}

}  // namespace q3e::chat
