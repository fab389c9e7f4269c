// What the files of the Python extension share. Its interface is documented in qwen3edge/_core.pyi.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <unistd.h>

#include <optional>
#include <string>

#include "base/cpu_features.h"
#include "base/error.h"
#include "io/model_file.h"
#include "models/architectures.h"
#include "runtime/sampler.h"
#include "text/answer_text.h"

namespace q3e::bindings {

namespace py = pybind11;
using namespace py::literals;

using Bytes = py::array_t<uint8_t, py::array::c_style>;
using Floats = py::array_t<float, py::array::c_style | py::array::forcecast>;
using Ints = py::array_t<int32_t, py::array::c_style | py::array::forcecast>;
using Flags = py::array_t<bool, py::array::c_style | py::array::forcecast>;

// While the interpreter ends, CPython ends every other thread that asks for the GIL, by unwinding it through frames that may not
// be unwound. Such a thread waits here instead until the process is gone, as CPython 3.14 has it.
template <class F>
auto or_wait_for_the_end(F&& take) {
  try {
    return take();
  } catch (...) {
    for (;;) pause();
  }
}

// Without the GIL, in a scope.
class WithoutGil {
 public:
  WithoutGil() : state_(PyEval_SaveThread()) {}
  ~WithoutGil() {
    or_wait_for_the_end([&] { PyEval_RestoreThread(state_); });
  }
  WithoutGil(const WithoutGil&) = delete;
  WithoutGil& operator=(const WithoutGil&) = delete;

 private:
  PyThreadState* state_;
};
using GilReleased = py::call_guard<WithoutGil>;

// With the GIL, from any thread.
class WithGil {
 public:
  WithGil() : state_(or_wait_for_the_end([] { return PyGILState_Ensure(); })) {}
  ~WithGil() { PyGILState_Release(state_); }
  WithGil(const WithGil&) = delete;
  WithGil& operator=(const WithGil&) = delete;

 private:
  PyGILState_STATE state_;
};

[[noreturn]] inline void fail(const std::string& text) { throw Error(Status::bad_argument, text); }

inline void require(bool condition, const char* text) {
  if (!condition) fail(text);
}

inline Isa tier(const std::optional<std::string>& isa) { return isa ? parse_isa(*isa) : best_isa(); }

// Throws Error(bad_argument) with the names that exist.
const BlockFormat& block_format(const std::string& name);
// Throws Error(bad_argument) for a shape that the format does not hold.
uint64_t checked_packed_nbytes(const BlockFormat& format, uint64_t rows, uint64_t columns);

// The kernels of a tier, or of the emulated one. Throws Error(bad_argument).
const KernelTable& kernels_of(const std::string& isa);

// A path as the system has it, of any bytes but 0, from what Python's own `open` takes. Throws Python's TypeError or ValueError.
inline std::string path_bytes(const py::object& path) {
  PyObject* bytes = nullptr;
  if (!PyUnicode_FSConverter(path.ptr(), &bytes)) throw py::error_already_set();
  return py::reinterpret_steal<py::bytes>(bytes);
}
// And back.
inline py::str path_text(const std::string& path) {
  PyObject* text = PyUnicode_DecodeFSDefaultAndSize(path.data(), static_cast<py::ssize_t>(path.size()));
  if (!text) throw py::error_already_set();
  return py::reinterpret_steal<py::str>(text);
}

// The UTF-8 of a str; Python keeps it with the str. Throws Python's TypeError, or UnicodeEncodeError for lone surrogates.
std::string_view utf8_of(py::handle text);
// UTF-8 of a str, and back. Lone surrogates, which a str may hold, become three bytes that no text has.
std::string encoded(py::handle text);
py::str decoded(std::string_view text);
std::vector<std::string> encoded(const std::vector<py::str>& texts);
// {tool: {parameter: kinds of its values, as JSON Schema names them}}; null for None.
std::shared_ptr<const Tools> tools_of(const py::object& tools);
// [(text, whether it is a thought's)] or, of calls, [(text, what happened)]
py::list listed(const std::vector<TextPiece>& pieces);

// Words as grammars' libraries fill them, signed or not: what is of another size is no mask, and not converted. None: no mask.
std::optional<TokenMask> mask_of(const py::object& words);
// (of the token, [(token, of it)])
py::tuple pair_of(const Logprobs& logprobs);

// The file and the model that its tensors were held against.
struct OpenFile {
  explicit OpenFile(const std::string& path) : file(path), model(read_model(file)) {}
  ModelFile file;
  Model model;
};

void bind_formats(py::module_& m);
void bind_files(py::module_& m);
void bind_tokenizer(py::module_& m);
void bind_text(py::module_& m);
void bind_template(py::module_& m);
void bind_engine(py::module_& m);
void bind_sampler(py::module_& m);
void bind_scheduler(py::module_& m);
void bind_kernels(py::module_ m);
void bind_delta_net(py::module_& m);  // its kernels, into the same module

}  // namespace q3e::bindings
