#include "template/filters.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "template/access.h"
#include "template/arithmetic.h"
#include "template/characters.h"
#include "template/compare.h"
#include "template/failure.h"
#include "template/iteration.h"
#include "template/json_text.h"
#include "template/letters.h"
#include "template/methods.h"
#include "template/sorting.h"
#include "template/text_methods.h"
#include "template/written.h"

namespace q3e::chat {
namespace {

bool is_left_out(const Value& value) { return value.is(Kind::absent) || value.is(Kind::none); }

// A text as soft_str has it; one of the filter safe stays one, which only few filters know here.
Value plain_text(const Value& value) {
  const Value text = as_text(value);
  if (text.text().markup) beyond("a text of the filter safe in another filter");
  return text;
}

Value to_json(Budget&, const Value& value, const Value* given) {
  if (value.is(Kind::undefined)) fail_unknown("an undefined value has no JSON form");
  JsonStyle style;
  style.ascii = is_true(given[0]);
  style.sorted = is_true(given[3]);
  if (!is_left_out(given[1])) {
    const Value& indent = given[1];
    if (!indent.is(Kind::text) && !indent.is(Kind::integer) && !indent.is(Kind::boolean)) beyond("such an indent of JSON");
    const int64_t width = indent.is(Kind::text) ? static_cast<int64_t>(indent.text().characters) : indent.integer();
    if (width < 0 || width > 16) fail_unknown("indent out of bounds");
    style.indent = indent.is(Kind::text) ? indent.str() : std::string(static_cast<size_t>(width), ' ');
    style.item_separator = ",";
  }
  if (!is_left_out(given[2])) {
    const bool pair = given[2].is(Kind::list) && given[2].list().items.size() == 2;
    if (!pair || !given[2].list().items[0].is(Kind::text) || !given[2].list().items[1].is(Kind::text))
      beyond("such separators of JSON");
    const std::vector<Value>& separators = given[2].list().items;
    if (std::max(separators[0].text().characters, separators[1].text().characters) > 16) fail_unknown("separators out of bounds");
    style.item_separator = separators[0].str(), style.key_separator = separators[1].str();
  }
  return Value::text(json_text(value, style));
}

Value trim(Budget&, const Value& value, const Value* given) {
  const Value text = plain_text(value);
  if (is_left_out(given[0])) return Value::text(std::string(stripped(text.str(), Side::both)));
  if (!given[0].is(Kind::text)) fail("strip arg must be None or str");
  return Value::text(std::string(stripped(text.str(), Side::both, given[0].str())));
}

Value length(Budget&, const Value& value, const Value*) { return Value(static_cast<int64_t>(length_of(value))); }

Value join_filter(Budget& budget, const Value& value, const Value* given) {
  std::vector<Value> items = items_of(value);
  if (!is_left_out(given[1]))
    for (Value& item : items) item = item_of(item, given[1]);
  return join(budget, given[0].is(Kind::absent) ? Value::text("") : given[0], items);
}

Value map_attribute(Budget&, const Value& value, const Value* given) {
  const Path path(given[0]);
  std::vector<Value> items = is_true(value) ? items_of(value) : std::vector<Value>();
  for (Value& item : items) item = path.of(item, given[1]);
  return {Kind::list, std::make_shared<List>(std::move(items), List::Form::once)};
}

Value items(Budget&, const Value& value, const Value*) {
  std::vector<Value> pairs;
  if (!value.is(Kind::undefined)) {
    if (!value.is(Kind::dict)) fail("Can only get item pairs from a mapping.");
    for (const Dict::Item& item : value.dict().items()) pairs.push_back(Value::tuple({item.first, item.second}));
  }
  return {Kind::list, std::make_shared<List>(std::move(pairs), List::Form::once)};
}

Value first(Budget&, const Value& value, const Value*) {
  if (value.is(Kind::list) && value.list().form == List::Form::once) {
    Value generator = value;
    List& list = generator.list();
    if (list.taken < list.items.size()) return list.items[list.taken++];
  } else {
    const std::vector<Value> all = items_of(value);
    if (!all.empty()) return all.front();
  }
  return Value::undefined("No first item, sequence was empty.");
}

bool is_reversible(const Value& value) { return has_length(value); }

Value last(Budget&, const Value& value, const Value*) {
  if (!is_reversible(value)) fail("'" + type_name(value) + "' object is not reversible");
  const std::vector<Value> all = items_of(value);
  return all.empty() ? Value::undefined("No last item, sequence was empty.") : all.back();
}

Value reverse(Budget&, const Value& value, const Value*) {
  if (value.is(Kind::text)) return slice_of(value, Value(), Value(), Value(int64_t{-1}));
  if (!is_iterable(value)) fail_unknown("argument must be iterable");
  std::vector<Value> all = items_of(value);
  std::reverse(all.begin(), all.end());
  const List::Form form = is_reversible(value) ? List::Form::once : List::Form::list;
  return {Kind::list, std::make_shared<List>(std::move(all), form)};
}

Value upper_filter(Budget&, const Value& value, const Value*) { return Value::text(upper(plain_text(value).str())); }
Value lower_filter(Budget&, const Value& value, const Value*) { return Value::text(lower(plain_text(value).str())); }

Value capitalize(Budget& budget, const Value& value, const Value*) {
  return call_method(budget, Method(plain_text(value), "capitalize"), {});
}

Value replace(Budget&, const Value& value, const Value* given) {
  if (!given[0].is(Kind::text) || !given[1].is(Kind::text)) fail("replace() argument must be str");
  const Value text = as_text(value);
  int64_t count = -1;
  if (!is_left_out(given[2])) {
    if (!given[2].is(Kind::integer)) beyond("such a count of replacements");
    count = given[2].integer();
  }
  for (const Value* each : {&text, &given[0], &given[1]})
    if (each->text().markup) beyond("a text of the filter safe in another filter");
  return replaced(text.text(), given[0].str(), given[1].str(), count);
}

Value fallback(Budget&, const Value& value, const Value* given) {
  if (!value.is(Kind::undefined) && !(is_true(given[1]) && !is_true(value))) return value;
  return given[0].is(Kind::absent) ? Value::text("") : given[0];
}

Value string(Budget&, const Value& value, const Value*) { return as_text(value); }

Value safe(Budget&, const Value& value, const Value*) {
  const Value text = as_text(value);
  return text.text().markup ? text : Value::text(text.str(), true);
}

Value list(Budget&, const Value& value, const Value*) { return Value::list(items_of(value)); }

Value integer(Budget&, const Value& value, const Value* given) {
  if (!given[1].is(Kind::absent)) beyond("the filter int with a base");
  const Value other = given[0].is(Kind::absent) ? Value(int64_t{0}) : given[0];
  if (value.is(Kind::undefined)) fail_undefined(value);
  if (value.is(Kind::boolean)) return Value(value.integer());
  if (value.is(Kind::integer) || value.is(Kind::large)) return value;
  if (value.is(Kind::real)) {
    if (std::isnan(value.real())) return other;
    if (std::isinf(value.real())) fail("cannot convert float infinity to integer");
    if (std::fabs(value.real()) >= 9e18) beyond("integers beyond 64 bits");
    return Value(static_cast<int64_t>(value.real()));
  }
  if (!value.is(Kind::text)) return other;
  std::string_view text = stripped(value.str(), Side::both);
  const bool negative = text.starts_with('-');
  if (negative || text.starts_with('+')) text.remove_prefix(1);
  const bool digits = !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
  if (!digits) {
    // Words without a digit are no number in any way of writing one, infinity aside.
    const bool word = is_ascii(text) && std::none_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
    if (word && text.find_first_of("nN") == text.npos) return other;
    beyond("the filter int of other texts than digits");
  }
  if (text.size() > 18) beyond("integers beyond 64 bits");
  const int64_t size = std::stoll(std::string(text));
  return Value(negative ? -size : size);
}

Value absolute(Budget&, const Value& value, const Value*) {
  if (value.is(Kind::undefined)) fail("bad operand type for abs(): 'Undefined'");
  if (value.is(Kind::real)) return Value(std::fabs(value.real()));
  if (!is_number(value)) fail("bad operand type for abs(): '" + type_name(value) + "'");
  if (value.is(Kind::large) || value.integer() < 0) return negated(value);
  return Value(value.integer());
}

Value sum(Budget&, const Value& value, const Value* given) {
  const Path path(given[0]);
  Value total = given[1].is(Kind::absent) ? Value(int64_t{0}) : given[1];
  if (total.is(Kind::text)) fail("sum() can't sum strings [use ''.join(seq) instead]");
  for (const Value& item : items_of(value)) {
    const Value part = path.of(item);
    if (part.is(Kind::real)) beyond("the sum of floats");
    if (part.is(Kind::list)) beyond("the sum of lists");
    total = computed(Operator::add, total, part);
  }
  return total;
}

Value indent(Budget&, const Value& value, const Value* given) {
  const Value text = plain_text(value);
  std::string blanks(4, ' ');
  if (given[0].is(Kind::text)) {
    blanks = given[0].str();
  } else if (!given[0].is(Kind::absent)) {
    if (!given[0].is(Kind::integer) && !given[0].is(Kind::boolean)) fail("can't multiply sequence by non-int");
    if (given[0].integer() > static_cast<int64_t>(kMostCharacters)) check_characters(static_cast<uint64_t>(given[0].integer()));
    blanks.assign(static_cast<size_t>(std::max<int64_t>(0, given[0].integer())), ' ');
  }
  const std::string with_end = text.str() + "\n";  // whose last line is one as well
  const std::vector<std::string_view> lines = lines_of(with_end);
  check_characters(text.text().characters + (lines.size() + 1) * count_characters(blanks));
  std::string out = is_true(given[1]) ? blanks : "";
  for (size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) out += '\n';
    if (i > 0 && (is_true(given[2]) || !lines[i].empty())) out += blanks;
    out += lines[i];
  }
  return Value::text(std::move(out));
}

constexpr Filter kFilters[] = {
    {"tojson", 4, to_json, true},
    {"trim", 1, trim, true},
    {"length", 0, length, false},
    {"join", 2, join_filter, true},
    {"map", 2, map_attribute, true},
    {"items", 0, items, false},
    {"first", 0, first, false},
    {"last", 0, last, true},
    {"reverse", 0, reverse, true},
    {"upper", 0, upper_filter, true},
    {"lower", 0, lower_filter, true},
    {"capitalize", 0, capitalize, true},
    {"replace", 3, replace, true},
    {"default", 2, fallback, false},
    {"string", 0, string, true},
    {"safe", 0, safe, false},
    {"list", 0, list, true},
    {"int", 2, integer, true},
    {"abs", 0, absolute, true},
    {"sum", 2, sum, true},
    {"indent", 3, indent, true},
    {"sort", 3, sorted, true},
    {"dictsort", 3, sorted_items, true},
    {"unique", 2, unique, true},
    {"min", 2, smallest, true},
    {"max", 2, largest, true},
};

}  // namespace

const Filter* find_filter(std::string_view name) {
  for (const Filter& filter : kFilters)
    if (filter.name == name) return &filter;
  return nullptr;
}

Value apply(const Filter& filter, Budget& budget, const Value& value, const Value* arguments) {
  if (filter.reads) budget.consume(value);
  return budget.charge(filter.run(budget, value, arguments));
}

}  // namespace q3e::chat
