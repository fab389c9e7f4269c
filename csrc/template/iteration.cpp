#include "template/iteration.h"

#include <utility>

#include "template/budget.h"
#include "template/characters.h"
#include "template/failure.h"
#include "template/written.h"

namespace q3e::chat {

std::vector<Value> items_of(Value value) {
  std::vector<Value> items;
  switch (value.kind()) {
    case Kind::undefined:
      return items;
    case Kind::text: {
      const std::string_view text = value.str();
      for (size_t at = 0; at < text.size();) {
        const size_t begin = at;
        read_character(text, at);
        items.push_back(Value::text(std::string(text.substr(begin, at - begin))));
        check_items(items.size());
      }
      return items;
    }
    case Kind::dict:
      for (const Dict::Item& item : value.dict().items()) items.push_back(item.first);
      return items;
    case Kind::list: {
      List& list = value.list();
      if (list.form != List::Form::once) return list.items;
      items.assign(list.items.begin() + static_cast<std::ptrdiff_t>(list.taken), list.items.end());
      list.taken = list.items.size();
      return items;
    }
    case Kind::loop:
      beyond("the items of a loop");
    default:
      fail("'" + type_name(value) + "' object is not iterable");
  }
}

bool has_length(const Value& value) {
  if (value.is(Kind::list)) return value.list().form != List::Form::once;
  return value.is(Kind::text) || value.is(Kind::dict) || value.is(Kind::undefined);
}

size_t length_of(const Value& value) {
  if (value.is(Kind::loop)) beyond("the length of a loop");
  if (!has_length(value)) fail("object of type '" + type_name(value) + "' has no len()");
  switch (value.kind()) {
    case Kind::text:
      return value.text().characters;
    case Kind::dict:
      return value.dict().items().size();
    case Kind::list:
      return value.list().items.size();
    default:
      return 0;
  }
}

bool is_iterable(const Value& value) {
  if (value.is(Kind::loop)) beyond("the items of a loop");
  return value.is(Kind::list) || value.is(Kind::text) || value.is(Kind::dict) || value.is(Kind::undefined);
}

void fail_undefined(const Value& value) { fail_unknown(value.undefined().message); }

void require_hashable(const Value& value) {
  if (value.is(Kind::dict) || (value.is(Kind::list) && value.list().form == List::Form::list))
    fail("unhashable type: '" + type_name(value) + "'");
}

}  // namespace q3e::chat
