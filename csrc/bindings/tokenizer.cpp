// The tokenizer.
#include "text/tokenizer.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bindings/bindings.h"
#include "text/bpe.h"
#include "text/normal_form.h"
#include "text/text_chunks.h"
#include "text/turns.h"
#include "text/utf8.h"

namespace q3e::bindings {

namespace {

// The UTF-8 of a str or of bytes. Of a str the halves of a character are put together, and what is none becomes U+FFFD, but for
// the marks of `protect` where there may be some. No copy of ASCII, which Python has in this form, nor of bytes.
class Utf8 {
 public:
  explicit Utf8(py::handle text, bool marked = false) {
    if (PyBytes_Check(text.ptr())) {
      view_ = {PyBytes_AS_STRING(text.ptr()), static_cast<size_t>(PyBytes_GET_SIZE(text.ptr()))};
      return;
    }
    if (!PyUnicode_Check(text.ptr())) throw py::type_error("expected a str or bytes");
#if PY_VERSION_HEX < 0x030c0000
    if (PyUnicode_READY(text.ptr()) != 0) throw py::error_already_set();
#endif
    const auto count = static_cast<size_t>(PyUnicode_GET_LENGTH(text.ptr()));
    const void* const data = PyUnicode_DATA(text.ptr());
    if (PyUnicode_IS_ASCII(text.ptr())) {
      view_ = {static_cast<const char*>(data), count};
      return;
    }
    switch (PyUnicode_KIND(text.ptr())) {
      case PyUnicode_1BYTE_KIND:
        encode(static_cast<const Py_UCS1*>(data), count, marked);
        break;
      case PyUnicode_2BYTE_KIND:
        encode(static_cast<const Py_UCS2*>(data), count, marked);
        break;
      default:
        encode(static_cast<const Py_UCS4*>(data), count, marked);
    }
    view_ = own_;
  }
  Utf8(const Utf8&) = delete;
  Utf8& operator=(const Utf8&) = delete;

  std::string_view view() const { return view_; }
  bool changed() const { return changed_; }  // what the str says

 private:
  template <class Unit>
  void encode(const Unit* units, size_t count, bool marked) {
    size_t nbytes = 0;
    for (size_t i = 0; i < count; ++i) nbytes += 1 + (units[i] >= 0x80) + (units[i] >= 0x800) + (units[i] >= 0x10000);
    own_.resize(nbytes);
    char* out = own_.data();
    const auto surrogate = [](uint32_t code, uint32_t first) { return code >= first && code < first + 0x400; };
    for (size_t i = 0; i < count; ++i) {
      uint32_t code = units[i];
      if (code >= 0xd800 && code < 0xe000 && !(marked && code == Tokenizer::kPlainMarkCode)) {
        const bool pair = surrogate(code, 0xd800) && i + 1 < count && surrogate(units[i + 1], 0xdc00);
        code = pair ? 0x10000 + ((code - 0xd800) << 10) + (units[++i] - 0xdc00) : 0xfffd;
        changed_ = true;
      }
      out = put_utf8(code, out);
    }
    own_.resize(static_cast<size_t>(out - own_.data()));
  }

  std::string own_;
  std::string_view view_;
  bool changed_ = false;
};

py::list listed(const std::vector<uint32_t>& ids) {
  py::list out(ids.size());
  for (size_t i = 0; i < ids.size(); ++i) PyList_SET_ITEM(out.ptr(), static_cast<Py_ssize_t>(i), PyLong_FromUnsignedLong(ids[i]));
  return out;
}

Bpe made_bpe(const py::list& tokens, const std::vector<int32_t>& kinds, const py::list& merges) {
  const auto views = [](const py::list& texts) {
    std::vector<std::string_view> out;
    for (const py::handle text : texts) out.push_back(utf8_of(text));
    return out;
  };
  return Bpe(views(tokens), kinds, views(merges));
}

// None: more ids than `most`.
std::optional<py::list> encode(const Tokenizer& tokenizer, const py::object& text, bool special, bool marked,
                               std::optional<uint64_t> most) {
  // Before anything is copied; two halves may be one character.
  if (const Py_ssize_t units = PyObject_Length(text.ptr()); units > static_cast<Py_ssize_t>(4 * Tokenizer::kMostCharacters))
    Tokenizer::require_length(static_cast<size_t>(units));
  const Utf8 utf8(text, marked);
  const uint64_t limit = most.value_or(Tokenizer::kNoLimit);
  std::vector<uint32_t> ids;
  {
    const WithoutGil released;
    const bool whole =
        marked ? tokenizer.encode_prompt(utf8.view(), limit, ids) : tokenizer.encode(utf8.view(), special, limit, ids);
    if (!whole) return std::nullopt;
  }
  return listed(ids);
}

py::object protect(const Tokenizer& tokenizer, const py::str& text, bool tags) {
  const Utf8 utf8(text);
  const std::optional<std::string> marked = tokenizer.protect(utf8.view(), tags);
  if (marked) return decoded(*marked);
  return utf8.changed() ? py::object(decoded(utf8.view())) : py::object(text);
}

}  // namespace

void bind_tokenizer(py::module_& m) {
  py::class_<Bpe, std::shared_ptr<Bpe>>(m, "Bpe")
      .def(py::init([](const py::list& tokens, const std::vector<int32_t>& kinds, const py::list& merges) {
             return std::make_shared<Bpe>(made_bpe(tokens, kinds, merges));
           }),
           "tokens"_a, "kinds"_a, "merges"_a)
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
      .def(
          "turn_boundaries", [](const Bpe& bpe, const std::vector<int32_t>& tokens) { return turn_boundaries(bpe, tokens); },
          "tokens"_a)
      .def(
          "encode",
          [](const Bpe& bpe, const py::list& words) {
            std::vector<uint32_t> ids;
            for (const py::handle word : words) bpe.encode(utf8_of(word), ids);
            return listed(ids);
          },
          "words"_a);

  py::class_<Tokenizer>(m, "Tokenizer")
      .def(py::init([](const std::string& model, const std::string& pre, const py::list& tokens,
                       const std::vector<int32_t>& kinds, const py::list& merges) {
             const WordSplitter splitter = Tokenizer::splitter_of(model, pre);
             return std::make_unique<Tokenizer>(splitter, std::make_shared<const Bpe>(made_bpe(tokens, kinds, merges)));
           }),
           "model"_a, "pre"_a, "tokens"_a, "kinds"_a, "merges"_a)
      .def_static(
          "read",
          [](const OpenFile& f) {
            const WithoutGil released;
            return Tokenizer::read(f.file);
          },
          "file"_a)
      // Python has no const: Bpe has no method that changes it.
      .def_property_readonly("bpe", [](const Tokenizer& t) { return std::const_pointer_cast<Bpe>(t.bpe()); })
      .def("marks", &Tokenizer::marks)
      .def("encode", &encode, "text"_a, py::kw_only(), "special"_a = false, "marked"_a = false, "most"_a = py::none())
      .def("protect", &protect, "text"_a, py::kw_only(), "tags"_a)
      .def(
          "decode",
          [](const Tokenizer& tokenizer, const std::vector<uint32_t>& ids, bool skip_control) {
            return tokenizer.decode(ids, skip_control);
          },
          "ids"_a, py::kw_only(), "skip_control"_a)
      .def("words", [](const Tokenizer& tokenizer, const py::str& text) { return tokenizer.words(Utf8(text).view()); }, "text"_a);

  m.def(
      "normal_form",
      [](const py::str& text) {
        std::string out;
        append_normal(Utf8(text).view(), out);
        return out;
      },
      "text"_a);
  m.def(
      "text_chunks",
      [](const py::str& text, size_t characters) {
        const Utf8 utf8(text);
        TextChunks chunks(utf8.view(), characters);
        std::vector<std::string> out;
        for (std::string_view chunk = chunks.next(); !chunk.empty(); chunk = chunks.next()) out.emplace_back(chunk);
        return out;
      },
      "text"_a, "characters"_a);
}

}  // namespace q3e::bindings
