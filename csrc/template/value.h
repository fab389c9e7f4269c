// What a template computes with: the values of Python that Jinja's expressions meet. All but namespaces, loops and what is read
// once are never changed, so that they are shared.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace q3e::chat {

struct Node;
class Dict;
class List;
class Loop;
class Method;
class Namespace;
class Text;
class Undefined;

enum class Kind : uint8_t {
  absent,  // no value: an argument that is left out
  undefined,
  none,
  boolean,
  integer,
  large,  // an integer beyond 64 bits, in digits: it can be written and compared, and is computed with nowhere
  real,
  text,
  list,  // and whatever else has items in order: see List::Form
  dict,
  space,  // namespace()
  loop,
  method,    // of a value: text.strip
  macro,     // its node
  function,  // of Jinja's or ours
};

enum class Function : uint8_t { make_namespace, make_dict, make_range, raise_exception, strftime_now };

class Object {
 public:
  Object() = default;
  Object(const Object&) = delete;
  Object& operator=(const Object&) = delete;
  virtual ~Object() = default;
};

class Value {
 public:
  Value() = default;
  explicit Value(bool value) : kind_(Kind::boolean) { as_.integer = value; }
  explicit Value(int64_t value) : kind_(Kind::integer) { as_.integer = value; }
  explicit Value(double value) : kind_(Kind::real) { as_.real = value; }
  explicit Value(Function function) : kind_(Kind::function) { as_.integer = static_cast<int64_t>(function); }
  explicit Value(const Node* macro) : kind_(Kind::macro) { as_.macro = macro; }
  Value(Kind kind, std::shared_ptr<Object> object) : kind_(kind), object_(std::move(object)) {}
  Value(const char*) = delete;  // would be a bool

  static Value none();
  static Value text(std::string text, bool markup = false);
  static Value large(std::string digits);
  static Value undefined(std::string message, bool unsafe = false);  // what is said when it is used
  static Value list(std::vector<Value> items);
  static Value tuple(std::vector<Value> items);

  Kind kind() const { return kind_; }
  bool is(Kind kind) const { return kind_ == kind; }
  bool boolean() const { return as_.integer != 0; }
  int64_t integer() const { return as_.integer; }  // of a boolean as well
  double real() const { return as_.real; }
  Function function() const { return static_cast<Function>(as_.integer); }
  const Node* macro() const { return as_.macro; }
  // The callers have compared the kind.
  const Text& text() const;  // of a large integer as well
  const std::string& str() const;
  const List& list() const;
  List& list();
  const Dict& dict() const;
  const Undefined& undefined() const;
  Namespace& space() const;
  Loop& loop() const;
  const Method& method() const;
  const Object* object() const { return object_.get(); }
  bool shared() const { return object_.use_count() > 1; }

 private:
  Kind kind_ = Kind::absent;
  union {
    int64_t integer = 0;
    double real;
    const Node* macro;
  } as_;
  std::shared_ptr<Object> object_;
};

// Characters of a value when it is written out, as templates/budget.py counts them; and how deep values lie in it.
uint64_t size_of(const Value& value);
uint32_t depth_of(const Value& value);

class Text : public Object {
 public:
  Text(std::string text, bool markup);
  const std::string bytes;
  const size_t characters;
  const bool markup;  // of the filter `safe`: texts that are added to it are escaped
  bool is_ascii() const { return characters == bytes.size(); }
};

class Undefined : public Object {
 public:
  Undefined(std::string message, bool unsafe) : message(std::move(message)), unsafe(unsafe) {}
  const std::string message;
  const bool unsafe;  // it is there, and no template may have it
};

class List : public Object {
 public:
  enum class Form : uint8_t { list, tuple, range, keys, values, items, once };  // once: a generator
  // Throws Failure where values lie too deep in one another.
  List(std::vector<Value> items, Form form);
  const std::vector<Value> items;
  const Form form;
  const uint64_t size;
  const uint32_t depth;
  size_t taken = 0;  // of `once`

  bool has_places() const { return form <= Form::range; }  // list[0]
  const char* type_name() const;
};

class Dict : public Object {
 public:
  using Item = std::pair<Value, Value>;  // the keys are texts
  // Of a key that comes twice the last value counts, at the first one's place. text: what the dict is where a text is wanted, as
  // the arguments of a call have it; absent for others.
  Dict(std::vector<Item> items, Value text = Value());
  const std::vector<Item>& items() const { return items_; }
  const Value* find(std::string_view key) const;
  const Value& text() const { return text_; }
  uint64_t size() const { return size_; }
  uint32_t depth() const { return depth_; }

 private:
  std::vector<Item> items_;
  std::unordered_map<std::string_view, size_t> places_;  // of dicts that are not small
  Value text_;
  uint64_t size_ = 4;
  uint32_t depth_ = 1;
};

class Namespace : public Object {
 public:
  std::unordered_map<std::string, Value> values;
};

class Method : public Object {
 public:
  Method(Value owner, std::string name) : owner(std::move(owner)), name(std::move(name)) {}
  const Value owner;
  const std::string name;
};

}  // namespace q3e::chat
