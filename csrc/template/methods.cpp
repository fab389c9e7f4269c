#include "template/methods.h"

#include <algorithm>

#include "template/compare.h"
#include "template/iteration.h"
#include "template/loop.h"
#include "template/text_methods.h"
#include "template/written.h"

namespace q3e::chat {
namespace {

Value view(const Dict& dict, List::Form form) {
  std::vector<Value> items;
  for (const Dict::Item& item : dict.items())
    items.push_back(form == List::Form::keys     ? item.first
                    : form == List::Form::values ? item.second
                                                 : Value::tuple({item.first, item.second}));
  return {Kind::list, std::make_shared<List>(std::move(items), form)};
}

Value call_of_dict(const Dict& dict, const std::string& name, const Arguments& arguments) {
  if (name == "get") {
    static constexpr const char* kNames[] = {"", ""};
    if (!arguments.named.empty()) fail("dict.get() takes no keyword arguments");
    Value given[2];
    arguments.take(name, kNames, given, 1);
    require_hashable(given[0]);
    const Value* found = given[0].is(Kind::text) ? dict.find(given[0].str()) : nullptr;
    return found ? *found : given[1].is(Kind::absent) ? Value::none() : given[1];
  }
  arguments.take_none(name);
  if (name == "items") return view(dict, List::Form::items);
  if (name == "keys") return view(dict, List::Form::keys);
  if (name == "values") return view(dict, List::Form::values);
  if (name == "copy") return {Kind::dict, std::make_shared<Dict>(dict.items())};
  beyond("the method " + name + " of a dict");
}

Value call_of_list(Budget& budget, const Value& list, const std::string& name, const Arguments& arguments) {
  if (name == "copy") {
    arguments.take_none(name);
    return Value::list(list.list().items);
  }
  static constexpr const char* kNames[] = {""};
  Value given[1];
  arguments.take(name, kNames, given, 1);
  budget.consume(list);
  const std::vector<Value>& items = list.list().items;
  const auto is_it = [&](const Value& item) { return equals(item, given[0]); };
  if (name == "count") return Value(static_cast<int64_t>(std::count_if(items.begin(), items.end(), is_it)));
  const auto found = std::find_if(items.begin(), items.end(), is_it);
  if (found == items.end()) fail(represented(given[0]) + " is not in list");
  return Value(static_cast<int64_t>(found - items.begin()));
}

}  // namespace

Value call_method(Budget& budget, const Method& method, const Arguments& arguments) {
  const Value& owner = method.owner;
  const std::string& name = method.name;
  if (owner.is(Kind::dict)) return call_of_dict(owner.dict(), name, arguments);
  if (owner.is(Kind::list)) return call_of_list(budget, owner, name, arguments);
  if (owner.is(Kind::text)) return call_of_text(budget, owner, name, arguments);
  if (!arguments.named.empty()) fail("cycle() takes no keyword arguments");
  return owner.loop().cycle(arguments.places);
}

}  // namespace q3e::chat
