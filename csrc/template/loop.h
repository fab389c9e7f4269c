// The variable `loop`, and the items that it goes through.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "template/value.h"

namespace q3e::chat {

class Loop : public Object {
 public:
  using Test = std::function<bool(const Value&)>;
  // test: of `for x in y if test`, called no earlier than Jinja does; without one all items count.
  Loop(const Value& sequence, Test test);

  bool next();  // goes to the next item; false: there is none
  const Value& current() const { return current_; }
  // Of `loop.name`; absent for an unknown one.
  Value attribute(const std::string& name);
  Value cycle(const std::vector<Value>& values) const;
  void end();    // lets go of what is to come, and of the test
  void clear();  // and of the items that it has

 private:
  const Value* peek();
  bool passes(const Value& item);
  int64_t length();

  std::vector<Value> items_;
  Test test_;
  size_t at_ = 0;  // of the next of items_
  bool testing_ = false;
  int64_t index0_ = -1;
  std::optional<int64_t> length_;
  std::optional<Value> after_;
  Value current_, before_;
};

}  // namespace q3e::chat
