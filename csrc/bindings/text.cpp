// The text of answers.
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "bindings/bindings.h"
#include "text/answer_text.h"
#include "text/bpe.h"
#include "text/json_scanner.h"

namespace q3e::bindings {

namespace {

// What `step` appends.
template <class F>
py::list pieces_of(F&& step) {
  std::vector<TextPiece> pieces;
  step(pieces);
  return listed(pieces);
}

}  // namespace

std::string_view utf8_of(py::handle text) {
  Py_ssize_t nbytes = 0;
  const char* data = PyUnicode_AsUTF8AndSize(text.ptr(), &nbytes);
  if (!data) throw py::error_already_set();
  return {data, static_cast<size_t>(nbytes)};
}

std::string encoded(py::handle text) {
  PyObject* bytes = PyUnicode_AsEncodedString(text.ptr(), "utf-8", "surrogatepass");
  if (!bytes) throw py::error_already_set();
  return py::reinterpret_steal<py::bytes>(bytes);
}

py::str decoded(std::string_view text) {
  PyObject* str = PyUnicode_DecodeUTF8(text.data(), static_cast<py::ssize_t>(text.size()), "surrogatepass");
  if (!str) throw py::error_already_set();
  return py::reinterpret_steal<py::str>(str);
}

std::vector<std::string> encoded(const std::vector<py::str>& texts) {
  std::vector<std::string> out;
  for (const py::str& text : texts) out.push_back(encoded(text));
  return out;
}

py::list listed(const std::vector<TextPiece>& pieces) {
  py::list out;
  static constexpr const char* kEvents[] = {nullptr, "begun", "arguments", "complete", "broken"};
  for (const TextPiece& piece : pieces) {
    const char* event = kEvents[static_cast<int>(piece.call)];
    const py::object what = event ? py::object(py::str(event)) : py::object(py::bool_(piece.reasoning));
    out.append(py::make_tuple(piece.text, what));
  }
  return out;
}

std::shared_ptr<const Tools> tools_of(const py::object& tools) {
  if (tools.is_none()) return nullptr;
  static constexpr std::pair<std::string_view, JsonKind> kKinds[] = {
      {"string", JsonKind::string}, {"integer", JsonKind::number}, {"number", JsonKind::number}, {"boolean", JsonKind::boolean},
      {"object", JsonKind::object}, {"array", JsonKind::array},    {"null", JsonKind::null},
  };
  auto out = std::make_shared<Tools>();
  for (const auto& [tool, parameters] : py::cast<py::dict>(tools)) {
    ToolParameters& declared = (*out)[encoded(tool)];
    for (const auto& [parameter, kinds] : py::cast<py::dict>(parameters)) {
      uint8_t& bits = declared[encoded(parameter)];
      for (const py::handle kind : kinds)
        for (const auto& [name, bit] : kKinds)
          if (name == encoded(kind)) bits |= static_cast<uint8_t>(bit);
    }
  }
  return out;
}

void bind_text(py::module_& m) {
  py::class_<AnswerText>(m, "AnswerText")
      .def(py::init([](std::shared_ptr<Bpe> bpe, bool reasoning, const std::vector<py::str>& stops, const py::object& tools,
                       bool verbatim) {
             return std::make_unique<AnswerText>(std::move(bpe), reasoning, encoded(stops), tools_of(tools), verbatim);
           }),
           py::arg("bpe").none(false), py::kw_only(), "reasoning"_a = false, "stops"_a = std::vector<py::str>(),
           "tools"_a = py::none(), "verbatim"_a = false)
      .def(
          "push", [](AnswerText& text, int32_t token) { return pieces_of([&](auto& out) { text.push(token, out); }); }, "token"_a)
      .def(
          "finish", [](AnswerText& text, bool cut) { return pieces_of([&](auto& out) { text.finish(out, cut); }); },
          "cut"_a = false)
      .def_property_readonly("stopped", &AnswerText::stopped)
      .def_property_readonly("stop_string",
                             [](const AnswerText& text) {
                               return text.stop_string() ? std::optional<std::string>(*text.stop_string()) : std::nullopt;
                             })
      .def_property_readonly("reasoning", &AnswerText::reasoning)
      .def_property_readonly("reasoning_tokens", &AnswerText::reasoning_tokens)
      .def_property_readonly("tool_calls", &AnswerText::tool_calls);

  m.def(
      "json_kind",
      [](const py::str& text) -> std::optional<std::string_view> {
        const std::optional<JsonKind> kind = json_kind(utf8_of(text));
        if (!kind) return std::nullopt;
        switch (*kind) {
          case JsonKind::string:
            return "string";
          case JsonKind::number:
            return "number";
          case JsonKind::boolean:
            return "boolean";
          case JsonKind::object:
            return "object";
          case JsonKind::array:
            return "array";
          default:
            return "null";
        }
      },
      "text"_a);
}

}  // namespace q3e::bindings
