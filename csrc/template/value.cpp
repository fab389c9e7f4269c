#include "template/value.h"

#include <algorithm>

#include "template/characters.h"
#include "template/failure.h"
#include "template/limits.h"

namespace q3e::chat {
namespace {

constexpr size_t kSmall = 8;  // items that are looked through one by one
constexpr uint64_t kLargest = uint64_t{1} << 40;

uint64_t added(uint64_t size, const Value& value) { return std::min(kLargest, size + 4 + size_of(value)); }

uint32_t checked_depth(uint32_t depth) {
  if (depth > kMostValueDepth) fail("it is nested too deeply");
  return depth;
}

uint64_t list_size(const std::vector<Value>& items) {
  uint64_t size = 4;
  for (const Value& item : items) size = added(size, item);
  return size;
}

uint32_t list_depth(const std::vector<Value>& items) {
  uint32_t depth = 0;
  for (const Value& item : items) depth = std::max(depth, depth_of(item));
  return checked_depth(depth + 1);
}

}  // namespace

Value Value::none() {
  Value value;
  value.kind_ = Kind::none;
  return value;
}
Value Value::text(std::string text, bool markup) { return {Kind::text, std::make_shared<Text>(std::move(text), markup)}; }
Value Value::large(std::string digits) { return {Kind::large, std::make_shared<Text>(std::move(digits), false)}; }
Value Value::undefined(std::string message, bool unsafe) {
  return {Kind::undefined, std::make_shared<Undefined>(std::move(message), unsafe)};
}
Value Value::list(std::vector<Value> items) { return {Kind::list, std::make_shared<List>(std::move(items), List::Form::list)}; }
Value Value::tuple(std::vector<Value> items) { return {Kind::list, std::make_shared<List>(std::move(items), List::Form::tuple)}; }

const Text& Value::text() const { return static_cast<const Text&>(*object_); }
const std::string& Value::str() const { return text().bytes; }
const List& Value::list() const { return static_cast<const List&>(*object_); }
List& Value::list() { return static_cast<List&>(*object_); }
const Dict& Value::dict() const { return static_cast<const Dict&>(*object_); }
const Undefined& Value::undefined() const { return static_cast<const Undefined&>(*object_); }
Namespace& Value::space() const { return static_cast<Namespace&>(*object_); }
const Method& Value::method() const { return static_cast<const Method&>(*object_); }

uint64_t size_of(const Value& value) {
  switch (value.kind()) {
    case Kind::text:
      return value.text().characters;
    case Kind::list:
      return value.list().size;
    case Kind::dict:
      return value.dict().size();
    default:
      return 8;
  }
}

uint32_t depth_of(const Value& value) {
  switch (value.kind()) {
    case Kind::list:
      return value.list().depth;
    case Kind::dict:
      return value.dict().depth();
    case Kind::method:
      return depth_of(value.method().owner) + 1;
    default:
      return 0;
  }
}

Text::Text(std::string text, bool markup) : bytes(std::move(text)), characters(count_characters(bytes)), markup(markup) {}

List::List(std::vector<Value> all, Form form)
    : items(std::move(all)), form(form), size(list_size(items)), depth(list_depth(items)) {}

const char* List::type_name() const {
  static constexpr const char* kNames[] = {"list", "tuple", "range", "dict_keys", "dict_values", "dict_items", "generator"};
  return kNames[static_cast<size_t>(form)];
}

Dict::Dict(std::vector<Item> items, Value text) : text_(std::move(text)) {
  const bool small = items.size() <= kSmall;
  if (!small) places_.reserve(items.size());
  items_.reserve(items.size());
  for (Item& item : items) {
    if (const Value* known = find(item.first.str())) {
      const_cast<Value&>(*known) = std::move(item.second);  // one of this dict's own, which nobody has yet
      continue;
    }
    items_.push_back(std::move(item));
    if (!small) places_.emplace(items_.back().first.str(), items_.size() - 1);
  }
  uint32_t depth = 0;
  for (const Item& item : items_) {
    size_ = added(added(size_, item.first), item.second);
    depth = std::max(depth, depth_of(item.second));
  }
  depth_ = checked_depth(depth + 1);
}

const Value* Dict::find(std::string_view key) const {
  if (!places_.empty()) {
    const auto found = places_.find(key);
    return found == places_.end() ? nullptr : &items_[found->second].second;
  }
  for (const Item& item : items_)
    if (item.first.str() == key) return &item.second;
  return nullptr;
}

}  // namespace q3e::chat
