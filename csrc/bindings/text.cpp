// The tokenizer's core.
#include <memory>
#include <vector>

#include "bindings/bindings.h"
#include "text/bpe.h"

namespace q3e::bindings {

namespace {

// The UTF-8 of a str; Python keeps it with the str.
std::string_view utf8_of(py::handle text) {
  Py_ssize_t nbytes = 0;
  const char* data = PyUnicode_AsUTF8AndSize(text.ptr(), &nbytes);
  if (!data) throw py::error_already_set();
  return {data, static_cast<size_t>(nbytes)};
}

py::list encode_words(const Bpe& bpe, const py::list& words) {
  std::vector<uint32_t> ids;
  for (const py::handle word : words) bpe.encode(utf8_of(word), ids);
  py::list out(ids.size());
  for (size_t i = 0; i < ids.size(); ++i) PyList_SET_ITEM(out.ptr(), static_cast<Py_ssize_t>(i), PyLong_FromUnsignedLong(ids[i]));
  return out;
}

}  // namespace

void bind_text(py::module_& m) {
  py::class_<Bpe>(m, "Bpe")
      .def(py::init([](const py::list& tokens, const std::vector<int32_t>& kinds, const py::list& merges) {
             const auto views = [](const py::list& texts) {
               std::vector<std::string_view> out;
               for (const py::handle text : texts) out.push_back(utf8_of(text));
               return out;
             };
             return std::make_unique<Bpe>(views(tokens), kinds, views(merges));
           }),
           "tokens"_a, "kinds"_a, "merges"_a)
      .def_static(
          "read",
          [](const OpenFile& f) {
            const WithoutGil released;
            return std::make_unique<Bpe>(Bpe::read(f.file));
          },
          "file"_a)
      .def_property_readonly("size", &Bpe::size)
      .def("added",
           [](const Bpe& bpe) {
             py::list out;
             for (const Bpe::Added& a : bpe.added()) out.append(py::make_tuple(a.text, a.id, a.control));
             return out;
           })
      .def(
          "token_bytes",
          [](const Bpe& bpe, int64_t token) {
            const std::string_view bytes = token < 0 ? std::string_view() : bpe.token_bytes(static_cast<uint64_t>(token));
            return py::bytes(bytes.data(), bytes.size());
          },
          "token"_a)
      .def("encode", &encode_words, "words"_a);
}

}  // namespace q3e::bindings
