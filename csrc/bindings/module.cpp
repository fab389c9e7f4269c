// The Python extension qwen3edge._core. Its interface is documented in qwen3edge/_core.pyi.
#include <cstring>
#include <exception>
#include <string>
#include <vector>

#include "bindings/bindings.h"
#include "io/open_error.h"
#include "probes/probes.h"
#include "runtime/process_memory.h"

namespace {

namespace py = pybind11;
using namespace py::literals;
using q3e::bindings::GilReleased;

// What a status becomes: an exception of qwen3edge.errors, or of Python.
py::object exception_type(q3e::Status status) {
  static constexpr const char* kNames[] = {"Qwen3EdgeError",    "RequestError",     "OSError",         "TruncatedFileError",
                                           "ForeignFileError",  "CorruptFileError", "FileFormatError", "UnsupportedModelError",
                                           "MemoryBudgetError", "MemoryError",      "Qwen3EdgeError",  "CancelledError",
                                           "BusyError",         "TemplateError"};  // by Status
  const bool of_python = status == q3e::Status::io_error || status == q3e::Status::out_of_memory;
  return py::module_::import(of_python ? "builtins" : "qwen3edge.errors").attr(kNames[static_cast<size_t>(status)]);
}

void translate(std::exception_ptr p) {
  try {
    if (p) std::rethrow_exception(p);
  } catch (const q3e::OpenError& e) {  // Python picks FileNotFoundError and its like by the code
    const py::object error = py::handle(PyExc_OSError)(e.code(), std::strerror(e.code()), q3e::bindings::path_text(e.path()));
    PyErr_SetObject(py::type::handle_of(error).ptr(), error.ptr());
  } catch (const q3e::Error& e) {
    // A path in it may be of any bytes.
    const auto text = py::reinterpret_steal<py::object>(PyUnicode_DecodeUTF8(e.what(), std::strlen(e.what()), "surrogateescape"));
    PyErr_SetObject(exception_type(e.status()).ptr(), text.ptr());
  }
}

}  // namespace

PYBIND11_MODULE(_core, m) {
  py::register_exception_translator(translate);
  m.def("isa_tiers", [] {
    std::vector<std::string> names;
    for (q3e::Isa isa : q3e::supported_isas()) names.emplace_back(q3e::isa_name(isa));
    return names;
  });
  m.def("selected_isa", [] { return q3e::isa_name(q3e::best_isa()); });
  m.def("usable_cores", &q3e::usable_cores, "root"_a = "");
  m.def("peak_resident_bytes", &q3e::peak_resident_bytes);
  m.def("resident_bytes", &q3e::resident_bytes);
  py::class_<q3e::ReadProbe>(m, "ReadProbe")
      .def(py::init<int>(), "threads"_a, GilReleased())
      .def("measure", &q3e::ReadProbe::measure, "seconds"_a, GilReleased());
  m.def(
      "int8_peak",
      [](const std::string& isa, int threads, double seconds) { return q3e::int8_peak(q3e::parse_isa(isa), threads, seconds); },
      "isa"_a, "threads"_a, "seconds"_a, GilReleased());
  q3e::bindings::bind_formats(m);
  q3e::bindings::bind_files(m);
  q3e::bindings::bind_tokenizer(m);
  q3e::bindings::bind_text(m);
  q3e::bindings::bind_template(m);
  q3e::bindings::bind_engine(m);
  q3e::bindings::bind_sampler(m);
  q3e::bindings::bind_scheduler(m);
  q3e::bindings::bind_kernels(m.def_submodule("kernels", "Single kernels, for tests and benches."));
}
