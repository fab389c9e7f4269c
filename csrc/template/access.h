// Attributes, items and slices of values, as Jinja's sandbox gives them out.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "template/value.h"

namespace q3e::chat {

Value attribute_of(const Value& value, const std::string& name);  // value.name
Value item_of(const Value& value, const Value& key);              // value[key]
// value[begin:end:step], absent or none where nothing stands.
Value slice_of(const Value& value, const Value& begin, const Value& end, const Value& step);

// The filters' attribute="a.b.0": an item of an item.
class Path {
 public:
  explicit Path(const Value& attribute);  // a text or an integer; none: the value itself
  // fallback: in place of what is not there, unless it is none.
  Value of(Value value, const Value& fallback = Value()) const;

 private:
  std::vector<Value> keys_;
};

}  // namespace q3e::chat
