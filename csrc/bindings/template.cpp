// Chat templates.
#include <memory>
#include <string>

#include "bindings/bindings.h"
#include "template/failure.h"
#include "template/interpreter.h"
#include "template/limits.h"
#include "template/tree.h"

namespace q3e::bindings {

namespace {

using chat::Value;

constexpr uint32_t kMostDepth = 200;  // messages nest by 100

Value value_of(py::handle object, uint32_t depth = 0);

Value integer_of(py::handle object) {
  int overflow = 0;
  const long long value = PyLong_AsLongLongAndOverflow(object.ptr(), &overflow);
  if (value == -1 && PyErr_Occurred()) throw py::error_already_set();
  return overflow ? Value::large(encoded(py::str(object))) : Value(static_cast<int64_t>(value));
}

Value dict_of(const py::dict& dict, uint32_t depth) {
  std::vector<chat::Dict::Item> items;
  for (const auto& [key, item] : dict) {
    require(py::isinstance<py::str>(key), "expected a template's variables with strings as keys");
    items.emplace_back(Value::text(encoded(key)), value_of(item, depth + 1));
  }
  // A dict of a kind of its own says what it is as a text: the arguments of a call.
  Value text = PyDict_CheckExact(dict.ptr()) ? Value() : Value::text(encoded(py::str(dict)));
  return {chat::Kind::dict, std::make_shared<chat::Dict>(std::move(items), std::move(text))};
}

Value value_of(py::handle object, uint32_t depth) {
  require(depth <= kMostDepth, "expected a template's variables nested at most 200 deep");
  if (object.is_none()) return Value::none();
  if (py::isinstance<py::bool_>(object)) return Value(object.ptr() == Py_True);
  if (py::isinstance<py::int_>(object)) return integer_of(object);
  if (py::isinstance<py::float_>(object)) return Value(py::cast<double>(object));
  if (py::isinstance<py::str>(object)) return Value::text(encoded(object));
  if (py::isinstance<py::dict>(object)) return dict_of(py::reinterpret_borrow<py::dict>(object), depth);
  require(py::isinstance<py::list>(object), "expected JSON values in a template's variables");
  std::vector<Value> items;
  for (const py::handle item : py::reinterpret_borrow<py::list>(object)) items.push_back(value_of(item, depth + 1));
  return Value::list(std::move(items));
}

std::string run(const chat::Tree& tree, const chat::Interpreter::Variables& variables, uint64_t most) {
  const WithoutGil released;
  return chat::Interpreter(tree, variables, most).run();
}

py::str render(const chat::Tree& tree, const py::dict& variables, std::optional<uint64_t> limit) {
  chat::Interpreter::Variables values;
  for (const auto& [name, value] : variables) values.emplace_back(encoded(name), value_of(value));
  try {
    return decoded(run(tree, values, limit.value_or(chat::kMostCharacters)));
  } catch (const chat::Failure& failure) {
    // Texts of the messages in it may hold marks, which are no UTF-8.
    const py::module_ errors = py::module_::import("qwen3edge.errors");
    const std::string way_out =
        failure.unknown_here() ? "; " + py::cast<std::string>(py::module_::import("qwen3edge.templates.given").attr("WAY_OUT"))
                               : "";
    const py::object error = errors.attr("TemplateError")(decoded(failure.what() + way_out));
    PyErr_SetObject(py::type::handle_of(error).ptr(), error.ptr());
    throw py::error_already_set();
  }
}

}  // namespace

void bind_template(py::module_& m) {
  py::class_<chat::Tree>(m, "TemplateTree")
      .def(py::init([](const py::bytes& bytes, const py::str& source) {
             const std::string_view view = bytes;
             return std::make_unique<chat::Tree>(std::span(reinterpret_cast<const uint8_t*>(view.data()), view.size()),
                                                 encoded(source));
           }),
           "bytes"_a, "source"_a)
      .def_static(
          "read",
          [](const OpenFile& f) {
            const MetadataEntry& tree = f.file.array("qwen3edge.chat_template.tree", ValueType::u8);
            const std::string_view source = f.file.string("tokenizer.chat_template");
            auto out = std::make_unique<chat::Tree>(std::span(tree.data, tree.nbytes), source);
            f.file.require_undamaged();
            return out;
          },
          "file"_a)
      .def("render", &render, "variables"_a, "limit"_a = py::none());
}

}  // namespace q3e::bindings
