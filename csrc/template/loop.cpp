#include "template/loop.h"

#include <utility>

#include "template/failure.h"
#include "template/iteration.h"

namespace q3e::chat {

Loop& Value::loop() const { return static_cast<Loop&>(*object_); }

Loop::Loop(const Value& sequence, Test test) : test_(std::move(test)) {
  if (!test_ && has_length(sequence)) length_ = static_cast<int64_t>(length_of(sequence));
  items_ = items_of(sequence);
}

bool Loop::next() {
  if (!peek()) return false;
  before_ = std::exchange(current_, std::move(*after_));
  after_.reset();
  ++index0_;
  return true;
}

const Value* Loop::peek() {
  while (!after_ && at_ < items_.size()) {
    Value item = std::move(items_[at_++]);
    if (passes(item)) after_ = std::move(item);
  }
  return after_ ? &*after_ : nullptr;
}

bool Loop::passes(const Value& item) {
  if (!test_) return true;
  if (std::exchange(testing_, true)) fail("generator already executing");
  const bool passed = test_(item);
  testing_ = false;
  return passed;
}

int64_t Loop::length() {
  if (!length_) {
    if (testing_) fail("generator already executing");
    std::vector<Value> left;
    for (; at_ < items_.size(); ++at_)
      if (passes(items_[at_])) left.push_back(std::move(items_[at_]));
    length_ = static_cast<int64_t>(left.size()) + index0_ + 1 + (after_ ? 1 : 0);
    items_ = std::move(left);
    test_ = nullptr;
    at_ = 0;
  }
  return *length_;
}

Value Loop::attribute(const std::string& name) {
  if (name == "index") return Value(index0_ + 1);
  if (name == "index0") return Value(index0_);
  if (name == "first") return Value(index0_ == 0);
  if (name == "last") return Value(peek() == nullptr);
  if (name == "length") return Value(length());
  if (name == "revindex") return Value(length() - index0_);
  if (name == "revindex0") return Value(length() - index0_ - 1);
  if (name == "depth") return Value(int64_t{1});  // loops that call themselves are not run here
  if (name == "depth0") return Value(int64_t{0});
  if (name == "previtem") return index0_ == 0 ? Value::undefined("there is no previous item") : before_;
  if (name == "nextitem") {
    const Value* after = peek();
    return after ? *after : Value::undefined("there is no next item");
  }
  return Value();
}

Value Loop::cycle(const std::vector<Value>& values) const {
  if (values.empty()) fail("no items for cycling given");
  return values[static_cast<size_t>(index0_) % values.size()];
}

void Loop::clear() {
  end();
  current_ = before_ = Value();
  after_.reset();
}

void Loop::end() {
  items_.clear();
  test_ = nullptr;
}

}  // namespace q3e::chat
