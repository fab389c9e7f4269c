// The Python extension qwen3edge._core: the only file that knows pybind11. Its interface is documented in qwen3edge/_core.pyi.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/cpu_features.h"
#include "base/error.h"
#include "core/engine.h"
#include "core/probes.h"
#include "core/process_memory.h"
#include "core/rotary.h"
#include "core/sampler.h"
#include "io/crc32.h"
#include "io/model_config.h"
#include "io/model_file.h"
#include "text/bpe.h"
#include "ukernels/pack.h"
#include "ukernels/unpack_row.h"

namespace py = pybind11;
using namespace py::literals;

namespace {

using Bytes = py::array_t<uint8_t, py::array::c_style>;
using Floats = py::array_t<float, py::array::c_style | py::array::forcecast>;
using Ints = py::array_t<int32_t, py::array::c_style | py::array::forcecast>;
using Flags = py::array_t<bool, py::array::c_style | py::array::forcecast>;
using GilReleased = py::call_guard<py::gil_scoped_release>;

[[noreturn]] void fail(const std::string& text) { throw q3e::Error(q3e::Status::bad_argument, text); }

void require(bool condition, const char* text) {
  if (!condition) fail(text);
}

// The exception of qwen3edge.errors, or of Python, that a status becomes.
py::object exception_type(q3e::Status status) {
  using q3e::Status;
  const char* name = "Qwen3EdgeError";
  switch (status) {
    case Status::bad_argument:
      name = "RequestError";
      break;
    case Status::truncated_file:
      name = "TruncatedFileError";
      break;
    case Status::foreign_file:
      name = "ForeignFileError";
      break;
    case Status::corrupt_file:
      name = "CorruptFileError";
      break;
    case Status::bad_file:
      name = "FileFormatError";
      break;
    case Status::unsupported_model:
      name = "UnsupportedModelError";
      break;
    case Status::over_budget:
      name = "MemoryBudgetError";
      break;
    case Status::io_error:
      return py::reinterpret_borrow<py::object>(PyExc_OSError);
    case Status::out_of_memory:
      return py::reinterpret_borrow<py::object>(PyExc_MemoryError);
    default:
      break;
  }
  return py::module_::import("qwen3edge.errors").attr(name);
}

void translate(std::exception_ptr p) {
  try {
    if (p) std::rethrow_exception(p);
  } catch (const q3e::Error& e) {
    PyErr_SetString(exception_type(e.status()).ptr(), e.what());
  }
}

q3e::Isa tier(const std::optional<std::string>& isa) { return isa ? q3e::parse_isa(*isa) : q3e::best_isa(); }

// ---- files and block formats ----

const q3e::BlockFormat& block_format(const std::string& name) {
  if (const q3e::BlockFormat* f = q3e::find_block_format(name)) return *f;
  std::string known;
  for (const q3e::BlockFormat& f : q3e::kBlockFormats) known += (known.empty() ? "" : ", ") + std::string(f.name);
  throw q3e::Error(q3e::Status::bad_argument, "block format: expected one of " + known + ", found '" + name + "'");
}

uint64_t checked_packed_nbytes(const q3e::BlockFormat& format, uint64_t rows, uint64_t columns) {
  q3e::check_shape(format, rows, columns);
  return q3e::packed_bytes(format, rows, columns);
}

Bytes quantize(const std::string& name, const py::array& weights, const std::optional<std::string>& isa) {
  const q3e::BlockFormat& format = block_format(name);
  if (weights.ndim() != 2) fail("weights: expected 2 dimensions, found " + std::to_string(weights.ndim()));
  const auto dtype = weights.dtype();
  q3e::SourceType type = q3e::SourceType::f32;
  if (dtype.kind() == 'f' && dtype.itemsize() == 2)
    type = q3e::SourceType::f16;
  else if (dtype.kind() == 'u' && dtype.itemsize() == 2)
    type = q3e::SourceType::bf16;
  else if (dtype.kind() != 'f' || dtype.itemsize() != 4)
    fail("weights: expected float32, float16 or uint16 (bfloat16), found " + std::string(py::str(dtype)));
  const py::array source = py::array::ensure(weights, py::array::c_style);
  const auto rows = static_cast<uint64_t>(source.shape(0)), columns = static_cast<uint64_t>(source.shape(1));
  const q3e::Isa chosen = tier(isa);
  Bytes packed(static_cast<py::ssize_t>(checked_packed_nbytes(format, rows, columns)));
  uint8_t* out = packed.mutable_data();
  const void* data = source.data();
  const py::gil_scoped_release released;
  q3e::pack_matrix(format, type, data, rows, columns, out, chosen);
  return packed;
}

py::array_t<float> dequantize(const std::string& name, const Bytes& packed, uint64_t rows, uint64_t columns) {
  const q3e::BlockFormat& format = block_format(name);
  const uint64_t expected = checked_packed_nbytes(format, rows, columns);
  if (static_cast<uint64_t>(packed.size()) != expected)
    throw q3e::Error(q3e::Status::bad_argument,
                     "packed: expected " + std::to_string(expected) + " bytes, found " + std::to_string(packed.size()));
  py::array_t<float> out({static_cast<py::ssize_t>(rows), static_cast<py::ssize_t>(columns)});
  float* values = out.mutable_data();
  const uint8_t* bytes = packed.data();
  const py::gil_scoped_release released;
  q3e::unpack_matrix(format, bytes, rows, columns, values);
  return out;
}

template <typename T>
py::object metadata_numbers(const q3e::MetadataEntry& e) {
  if (!e.is_array) return py::cast(e.at<T>(0));
  py::list out(e.count);
  for (uint64_t i = 0; i < e.count; ++i) out[i] = py::cast(e.at<T>(i));
  return out;
}

py::object metadata_value(const q3e::MetadataEntry& e) {
  using q3e::ValueType;
  switch (e.type) {
    case ValueType::u8:
      return metadata_numbers<uint8_t>(e);
    case ValueType::i8:
      return metadata_numbers<int8_t>(e);
    case ValueType::u16:
      return metadata_numbers<uint16_t>(e);
    case ValueType::i16:
      return metadata_numbers<int16_t>(e);
    case ValueType::u32:
      return metadata_numbers<uint32_t>(e);
    case ValueType::i32:
      return metadata_numbers<int32_t>(e);
    case ValueType::u64:
      return metadata_numbers<uint64_t>(e);
    case ValueType::i64:
      return metadata_numbers<int64_t>(e);
    case ValueType::f32:
      return metadata_numbers<float>(e);
    case ValueType::f64:
      return metadata_numbers<double>(e);
    case ValueType::boolean: {
      if (!e.is_array) return py::bool_(e.at<uint8_t>(0) != 0);
      py::list out(e.count);
      for (uint64_t i = 0; i < e.count; ++i) out[i] = py::bool_(e.at<uint8_t>(i) != 0);
      return out;
    }
    case ValueType::string: {
      if (!e.is_array) return py::str(e.as_string().data(), e.as_string().size());
      py::list out(e.count);
      uint64_t i = 0;
      for (const std::string_view s : e.as_strings()) out[i++] = py::str(s.data(), s.size());
      return out;
    }
    case ValueType::array:
      break;
  }
  throw q3e::Error(q3e::Status::internal, "a metadata value of no type");
}

// The file and the config that its tensors were held against.
struct OpenFile {
  explicit OpenFile(const std::string& path) : file(path), config(q3e::read_model_config(file)) {}
  q3e::ModelFile file;
  q3e::ModelConfig config;
};

// The UTF-8 of a str; Python keeps it with the str.
std::string_view utf8_of(py::handle text) {
  Py_ssize_t nbytes = 0;
  const char* data = PyUnicode_AsUTF8AndSize(text.ptr(), &nbytes);
  if (!data) throw py::error_already_set();
  return {data, static_cast<size_t>(nbytes)};
}

py::list encode_words(const q3e::Bpe& bpe, const py::list& words) {
  std::vector<uint32_t> ids;
  for (const py::handle word : words) bpe.encode(utf8_of(word), ids);
  py::list out(ids.size());
  for (size_t i = 0; i < ids.size(); ++i) PyList_SET_ITEM(out.ptr(), static_cast<Py_ssize_t>(i), PyLong_FromUnsignedLong(ids[i]));
  return out;
}

void bind_text(py::module_& m) {
  py::class_<q3e::Bpe>(m, "Bpe")
      .def(py::init([](const py::list& tokens, const std::vector<int32_t>& kinds, const py::list& merges) {
             const auto views = [](const py::list& texts) {
               std::vector<std::string_view> out;
               for (const py::handle text : texts) out.push_back(utf8_of(text));
               return out;
             };
             return std::make_unique<q3e::Bpe>(views(tokens), kinds, views(merges));
           }),
           "tokens"_a, "kinds"_a, "merges"_a)
      .def_static(
          "read",
          [](const OpenFile& f) {
            const py::gil_scoped_release released;
            return std::make_unique<q3e::Bpe>(q3e::Bpe::read(f.file));
          },
          "file"_a)
      .def_property_readonly("size", &q3e::Bpe::size)
      .def("added",
           [](const q3e::Bpe& bpe) {
             py::list out;
             for (const q3e::Bpe::Added& a : bpe.added()) out.append(py::make_tuple(a.text, a.id, a.control));
             return out;
           })
      .def(
          "token_bytes",
          [](const q3e::Bpe& bpe, int64_t token) {
            const std::string_view bytes = token < 0 ? std::string_view() : bpe.token_bytes(static_cast<uint64_t>(token));
            return py::bytes(bytes.data(), bytes.size());
          },
          "token"_a)
      .def("encode", &encode_words, "words"_a);
}

void bind_files(py::module_& m) {
  m.def(
      "crc32",
      [](const py::buffer& data, uint32_t value) {
        const py::buffer_info info = data.request();
        py::ssize_t stride = info.itemsize;
        for (py::ssize_t i = info.ndim; i-- > 0; stride *= info.shape[i])
          if (info.strides[i] != stride && info.shape[i] > 1)
            throw q3e::Error(q3e::Status::bad_argument, "crc32: expected contiguous bytes");
        const py::gil_scoped_release released;
        return q3e::crc32(info.ptr, static_cast<size_t>(info.size * info.itemsize), value);
      },
      py::arg("data"), py::arg("value") = 0);
  m.def("block_formats", [] {
    py::list out;
    for (const q3e::BlockFormat& f : q3e::kBlockFormats) {
      const uint32_t long_row = 1u << 20;
      const double bits = f.kind == q3e::FormatKind::vector
                              ? 32.0
                              : 8.0 * static_cast<double>(q3e::panel_layout(f, long_row).bytes) / (16.0 * long_row);
      py::dict d;
      d["name"] = f.name;
      d["block"] = f.block;
      d["group"] = f.group;
      d["bits"] = bits;
      out.append(d);
    }
    return out;
  });
  m.def(
      "packed_nbytes",
      [](const std::string& name, uint64_t rows, uint64_t columns) {
        return checked_packed_nbytes(block_format(name), rows, columns);
      },
      py::arg("format"), py::arg("rows"), py::arg("columns"));
  m.def("quantize", &quantize, py::arg("format"), py::arg("weights"), py::kw_only(), py::arg("isa") = py::none());
  m.def("dequantize", &dequantize, py::arg("format"), py::arg("packed"), py::arg("rows"), py::arg("columns"));

  py::class_<OpenFile, std::shared_ptr<OpenFile>>(m, "ModelFile")
      .def(py::init([](const std::string& path) {
             const py::gil_scoped_release released;
             return std::make_shared<OpenFile>(path);
           }),
           py::arg("path"))
      .def_property_readonly("path", [](const OpenFile& f) { return f.file.path(); })
      .def_property_readonly("nbytes", [](const OpenFile& f) { return f.file.nbytes(); })
      .def("keys",
           [](const OpenFile& f) {
             py::list out;
             for (const q3e::MetadataEntry& e : f.file.metadata()) out.append(py::str(e.key.data(), e.key.size()));
             return out;
           })
      .def("__contains__", [](const OpenFile& f, const std::string& key) { return f.file.find_key(key) != nullptr; })
      .def(
          "get",
          [](const OpenFile& f, const std::string& key) {
            const q3e::MetadataEntry* e = f.file.find_key(key);
            if (!e) throw py::key_error(key);
            py::object value = metadata_value(*e);
            f.file.require_undamaged();
            return value;
          },
          py::arg("key"))
      .def("tensors",
           [](const OpenFile& f) {
             py::list out;
             for (const q3e::TensorView& t : f.file.tensors()) {
               py::dict d;
               d["name"] = py::str(t.name.data(), t.name.size());
               d["format"] = t.format->name;
               d["rows"] = t.rows;
               d["columns"] = t.columns;
               d["offset"] = t.offset;
               d["nbytes"] = t.nbytes;
               d["crc32"] = t.crc32;
               out.append(d);
             }
             return out;
           })
      .def(
          "packed",
          [](const std::shared_ptr<OpenFile>& f, const std::string& name) {
            const q3e::TensorView& t = f->file.tensor(name);
            py::array_t<uint8_t> view({static_cast<py::ssize_t>(t.nbytes)}, {1}, t.data, py::cast(f));
            view.attr("setflags")(py::arg("write") = false);
            return view;
          },
          py::arg("name"))
      .def(
          "dequantize",
          [](const OpenFile& f, const std::string& name) {
            const q3e::TensorView& t = f.file.tensor(name);
            py::array_t<float> out({static_cast<py::ssize_t>(t.rows), static_cast<py::ssize_t>(t.columns)});
            float* values = out.mutable_data();
            {
              const py::gil_scoped_release released;
              q3e::unpack_matrix(*t.format, t.data, t.rows, t.columns, values);
              f.file.require_undamaged();
            }
            return out;
          },
          py::arg("name"))
      .def("release_header", [](const OpenFile& f) { f.file.release_header(); })
      .def("verify", [](const OpenFile& f) { f.file.verify(); }, py::call_guard<py::gil_scoped_release>());
}

// ---- engine ----

q3e::PlanRequest plan_request(uint32_t context, uint32_t sequences, uint32_t threads, const std::string& kv, uint64_t memory,
                              uint32_t chunk, uint64_t program, uint64_t later) {
  return {context, sequences, threads, q3e::parse_kv(kv), memory, chunk, program, later};
}

py::dict plan_dict(const q3e::MemoryPlan& p) {
  const q3e::PlanRequest& s = p.settings;
  return py::dict("weights"_a = p.weights, "kv_cache"_a = p.kv_cache, "scratch"_a = p.scratch, "program"_a = p.program,
                  "peak"_a = p.peak, "budget"_a = p.budget, "context"_a = s.context, "sequences"_a = s.sequences,
                  "chunk"_a = s.chunk, "threads"_a = s.threads, "kv"_a = q3e::kv_name(s.kv));
}

// Keeps the mapping alive as long as the engine reads it.
std::shared_ptr<const q3e::ModelFile> shared_file(const std::shared_ptr<OpenFile>& f) { return {f, &f->file}; }

py::array_t<float> forward(q3e::Engine& engine, const Ints& tokens, const Ints& positions, const Ints& slots, const Flags& want) {
  const auto n = static_cast<size_t>(tokens.size());
  for (const py::array* a : std::initializer_list<const py::array*>{&tokens, &positions, &slots, &want})
    if (a->ndim() != 1 || static_cast<size_t>(a->size()) != n)
      fail("batch: expected arrays of one dimension and " + std::to_string(n) + " entries, found " + std::to_string(a->size()));
  std::vector<uint8_t> flags(want.data(), want.data() + n);
  const auto rows = std::count(flags.begin(), flags.end(), 1);
  py::array_t<float> logits({static_cast<py::ssize_t>(rows), static_cast<py::ssize_t>(engine.config().vocab_size)});
  float* out = logits.mutable_data();
  const py::gil_scoped_release released;
  engine.forward({tokens.data(), positions.data(), slots.data(), flags.data(), n}, out);
  return logits;
}

void bind_engine(py::module_& m) {
  m.def(
      "plan",
      [](const std::shared_ptr<OpenFile>& f, uint32_t context, uint32_t sequences, uint32_t threads, const std::string& kv,
         uint64_t memory, uint32_t chunk, uint64_t program, uint64_t later) {
        return plan_dict(q3e::make_plan(f->file, f->config, q3e::Weights(f->file, f->config),
                                        plan_request(context, sequences, threads, kv, memory, chunk, program, later)));
      },
      "file"_a, py::kw_only(), "context"_a = 4096, "sequences"_a = 1, "threads"_a = 0, "kv"_a = "int8", "memory"_a = 0,
      "chunk"_a = 0, "program"_a = 0, "later"_a = 0);
  py::class_<q3e::Engine>(m, "Engine")
      .def(py::init([](const std::shared_ptr<OpenFile>& f, uint32_t context, uint32_t sequences, uint32_t threads,
                       const std::string& kv, uint64_t memory, uint32_t chunk, uint64_t program, uint64_t later,
                       const std::optional<std::string>& isa) {
             return std::make_unique<q3e::Engine>(
                 shared_file(f), plan_request(context, sequences, threads, kv, memory, chunk, program, later), tier(isa));
           }),
           "file"_a, py::kw_only(), "context"_a = 4096, "sequences"_a = 1, "threads"_a = 0, "kv"_a = "int8", "memory"_a = 0,
           "chunk"_a = 0, "program"_a = 0, "later"_a = 0, "isa"_a = py::none())
      .def_property_readonly("plan", [](const q3e::Engine& e) { return plan_dict(e.plan()); })
      .def_property_readonly("isa", [](const q3e::Engine& e) { return q3e::isa_name(e.isa()); })
      .def("forward", &forward, "tokens"_a, "positions"_a, "slots"_a, "want_logits"_a)
      .def("length", &q3e::Engine::length, "slot"_a, GilReleased())
      .def("truncate", &q3e::Engine::truncate, "slot"_a, "length"_a, GilReleased());
  py::class_<q3e::Sampler>(m, "Sampler")
      .def(py::init([](uint32_t vocabulary, float temperature, uint32_t top_k, float top_p, float min_p, float presence_penalty,
                       float repetition_penalty, uint64_t seed) {
             return std::make_unique<q3e::Sampler>(vocabulary, q3e::SamplingParameters{repetition_penalty, presence_penalty,
                                                                                       temperature, top_k, top_p, min_p, seed});
           }),
           py::kw_only(), "vocabulary"_a, "temperature"_a = 0.7f, "top_k"_a = 20, "top_p"_a = 0.8f, "min_p"_a = 0.0f,
           "presence_penalty"_a = 0.0f, "repetition_penalty"_a = 1.0f, "seed"_a = 0)
      .def("accept", &q3e::Sampler::accept, "token"_a, "generated"_a = true)
      .def(
          "sample",
          [](q3e::Sampler& s, const Floats& logits) {
            require(static_cast<size_t>(logits.size()) == s.vocabulary(),
                    "logits: expected one for each token of the vocabulary");
            const float* values = logits.data();
            const py::gil_scoped_release released;
            return s.sample(values);
          },
          "logits"_a);
}

// ---- kernels, for tests and benches ----

struct Quantized {
  py::array_t<int8_t> quants;
  py::array_t<float> scales;
  py::array_t<int32_t> sums;
};

Quantized quantized_arrays(py::ssize_t tokens, py::ssize_t columns, uint32_t block) {
  require(block >= 32 && block <= q3e::kSuperBlock, "block: expected 32 to 256");
  require(columns % 32 == 0, "columns: expected a multiple of 32");
  const py::ssize_t blocks = (columns + block - 1) / block;
  return {py::array_t<int8_t>({tokens, columns}), py::array_t<float>({tokens, blocks}), py::array_t<int32_t>({tokens, blocks})};
}

py::tuple kernel_quantize(const std::string& isa, const Floats& x, uint32_t block) {
  require(x.ndim() == 2, "x: expected [tokens, columns]");
  Quantized q = quantized_arrays(x.shape(0), x.shape(1), block);
  for (py::ssize_t t = 0; t < x.shape(0); ++t)
    q3e::kernel_table(q3e::parse_isa(isa))
        .quantize(x.data(t, 0), static_cast<uint32_t>(x.shape(1)), block, q.quants.mutable_data(t, 0),
                  q.scales.mutable_data(t, 0), q.sums.mutable_data(t, 0));
  return py::make_tuple(q.quants, q.scales, q.sums);
}

py::tuple kernel_rmsnorm_quantize(const std::string& isa, const Floats& x, const Floats& weight, float eps, uint32_t block) {
  require(x.ndim() == 2 && weight.size() == x.shape(1), "x: expected [tokens, columns], weight: [columns]");
  Quantized q = quantized_arrays(x.shape(0), x.shape(1), block);
  for (py::ssize_t t = 0; t < x.shape(0); ++t)
    q3e::kernel_table(q3e::parse_isa(isa))
        .rmsnorm_quantize(x.data(t, 0), weight.data(), static_cast<uint32_t>(x.shape(1)), eps, block, q.quants.mutable_data(t, 0),
                          q.scales.mutable_data(t, 0), q.sums.mutable_data(t, 0));
  return py::make_tuple(q.quants, q.scales, q.sums);
}

py::array_t<float> kernel_rmsnorm(const std::string& isa, const Floats& x, const Floats& weight, float eps) {
  require(x.ndim() == 2 && weight.size() == x.shape(1) && x.shape(1) % 16 == 0,
          "x: expected [tokens, columns], weight: [columns]");
  py::array_t<float> out({x.shape(0), x.shape(1)});
  for (py::ssize_t t = 0; t < x.shape(0); ++t)
    q3e::kernel_table(q3e::parse_isa(isa))
        .rmsnorm(x.data(t, 0), weight.data(), static_cast<uint32_t>(x.shape(1)), eps, out.mutable_data(t, 0));
  return out;
}

py::array_t<float> kernel_silu_mul(const std::string& isa, const Floats& gate, const Floats& up) {
  require(gate.ndim() == 1 && up.size() == gate.size() && gate.size() % 16 == 0,
          "gate, up: expected two vectors of a multiple of 16");
  py::array_t<float> out(gate.size());
  q3e::kernel_table(q3e::parse_isa(isa)).silu_mul(gate.data(), up.data(), static_cast<uint32_t>(gate.size()), out.mutable_data());
  return out;
}

// Products of quantized weights with activations rounded by the same tier. x: [tokens, columns]; the result [tokens, rows].
py::array_t<float> kernel_matmul(const std::string& isa, const std::string& name, const Bytes& packed, uint32_t rows,
                                 uint32_t columns, const Floats& x) {
  const q3e::BlockFormat& format = block_format(name);
  require(format.kind != q3e::FormatKind::vector, "format: expected a matrix format");
  require(static_cast<uint64_t>(packed.size()) == checked_packed_nbytes(format, rows, columns),
          "packed: expected the bytes of rows x columns");
  require(x.ndim() == 2 && x.shape(1) == columns, "x: expected [tokens, columns]");
  const bool emulated = isa == "amx_emulated";
  const q3e::KernelTable& kernels = q3e::kernel_table(q3e::parse_isa(emulated ? "scalar" : isa));
  const q3e::MatmulFn matmul = emulated ? q3e::emulated_amx_matmul() : kernels.matmul;
  require(matmul, "isa: expected a machine with AVX-512 for amx_emulated");
  const auto tokens = static_cast<uint32_t>(x.shape(0));
  const uint32_t block = format.block, blocks = block ? (columns + block - 1) / block : 0;
  const uint32_t stride = q3e::activation_stride(columns);
  std::vector<int8_t> quants(size_t{tokens} * stride, int8_t{99});  // what lies between the rows must not matter
  std::vector<float> scales(size_t{tokens} * blocks);
  std::vector<int32_t> sums(size_t{tokens} * blocks);
  for (uint32_t t = 0; t < tokens && block; ++t)
    kernels.quantize(x.data(t, 0), columns, block, quants.data() + size_t{t} * stride, scales.data() + size_t{t} * blocks,
                     sums.data() + size_t{t} * blocks);
  const q3e::MatrixView w{packed.data(), &format, rows, columns, q3e::panel_layout(format, columns)};
  py::array_t<float> out({static_cast<py::ssize_t>(tokens), static_cast<py::ssize_t>(rows)});
  const auto scratch = std::make_unique<q3e::WorkerScratch>();
  std::fill(std::begin(scratch->matmul), std::end(scratch->matmul), uint8_t{99});  // nor what was in scratch before
  for (uint32_t first = 0; first < w.panels(); first += q3e::kGemmPanels)
    for (uint32_t t = 0; t < tokens; t += q3e::kGemmTokens) {
      const uint32_t last = std::min(first + q3e::kGemmPanels, w.panels()), n = std::min(q3e::kGemmTokens, tokens - t);
      const uint32_t width = (last - first) * q3e::kPanelRows;
      const q3e::Activations a{n,
                               columns,
                               stride,
                               block,
                               x.data(t, 0),
                               quants.data() + size_t{t} * stride,
                               scales.data() + size_t{t} * blocks,
                               sums.data() + size_t{t} * blocks};
      matmul(w, first, last, a, scratch->tile, width, scratch->matmul);
      for (uint32_t i = 0; i < n; ++i)
        for (uint32_t r = 0; r < width && first * q3e::kPanelRows + r < rows; ++r)
          *out.mutable_data(t + i, first * q3e::kPanelRows + r) = scratch->tile[size_t{i} * width + r];
    }
  return out;
}

// A sequence through QK-norm, RoPE, KV write and attention. qkv: [tokens, heads + 2 kv_heads, head_dim]; the result [tokens,
// heads, head_dim].
py::array_t<float> kernel_attention(const std::string& isa, const std::string& kv, const Floats& qkv, uint32_t heads,
                                    uint32_t kv_heads, const Floats& frequencies, const std::optional<Floats>& q_weight,
                                    const std::optional<Floats>& k_weight, const std::optional<Floats>& bias, float eps,
                                    uint32_t tile) {
  const q3e::KernelTable& kernels = q3e::kernel_table(q3e::parse_isa(isa));
  const q3e::KvType type = q3e::parse_kv(kv);
  require(qkv.ndim() == 3 && qkv.shape(1) == heads + 2 * kv_heads && heads % kv_heads == 0,
          "qkv: expected [tokens, heads + 2 kv_heads, head_dim]");
  const auto tokens = static_cast<uint32_t>(qkv.shape(0)), d = static_cast<uint32_t>(qkv.shape(2)), group = heads / kv_heads;
  require(d % 32 == 0 && d <= q3e::kMaxHeadDim && frequencies.size() == d / 2,
          "head_dim: expected a multiple of 32 with half as many frequencies");
  static_assert(q3e::kAttentionRows == 48);
  require(tile >= 1 && (tile == 1 || tile * group <= q3e::kAttentionRows) && group <= q3e::kMaxGroup,
          "tile: expected tile * group of at most 48");
  q3e::KvCache cache({type, 1, kv_heads, d}, 1, std::max(tokens, 1u));
  cache.grow(0, tokens);
  std::vector<uint8_t> q(size_t{tokens} * heads * d * 4);
  std::vector<float> q_scales(size_t{tokens} * heads), cos_sin(d);
  const size_t q_width = type == q3e::KvType::int8 ? 1 : 4;
  for (uint32_t t = 0; t < tokens; ++t) {
    q3e::fill_cos_sin(t, frequencies.data(), d / 2, cos_sin.data());
    kernels.qk_norm_rope({qkv.data(t, 0, 0), bias ? bias->data() : nullptr, q_weight ? q_weight->data() : nullptr,
                          k_weight ? k_weight->data() : nullptr, cos_sin.data(), eps, heads, kv_heads, d, type,
                          q.data() + size_t{t} * heads * d * q_width, q_scales.data() + size_t{t} * heads, cache.page(0, t),
                          t % q3e::kKvBlock, 0, kv_heads});
  }
  py::array_t<float> out({qkv.shape(0), static_cast<py::ssize_t>(heads), qkv.shape(2)});
  const auto scratch = std::make_unique<q3e::WorkerScratch>();
  for (uint32_t t = 0; t < tokens; t += tile)
    for (uint32_t h = 0; h < kv_heads; ++h) {
      const size_t first = size_t{t} * heads + size_t{h} * group;
      kernels.attention({q.data() + first * d * q_width, q_scales.data() + first, heads, 1, std::min(tile, tokens - t), group, d,
                         t, type, cache.pages(0), h * q3e::kv_block_layout(type, d).bytes, nullptr,
                         out.mutable_data() + first * d, scratch->attention});
    }
  return out;
}

py::array_t<float> kernel_embed(const std::string& name, const Bytes& packed, uint32_t rows, uint32_t columns, uint32_t row) {
  const q3e::BlockFormat& format = block_format(name);
  require(static_cast<uint64_t>(packed.size()) == checked_packed_nbytes(format, rows, columns) && row < rows,
          "packed: expected rows x columns");
  py::array_t<float> out(columns);
  q3e::unpack_row({packed.data(), &format, rows, columns, q3e::panel_layout(format, columns)}, row, out.mutable_data());
  return out;
}

py::array_t<float> kernel_cos_sin(uint32_t position, const Floats& frequencies) {
  py::array_t<float> out(frequencies.size() * 2);
  q3e::fill_cos_sin(position, frequencies.data(), static_cast<uint32_t>(frequencies.size()), out.mutable_data());
  return out;
}

q3e::AttentionShape attention_shape(uint32_t heads, uint32_t kv_heads, uint32_t head_dim) {
  require(kv_heads >= 1 && heads % kv_heads == 0 && heads / kv_heads <= q3e::kMaxGroup,
          "heads: expected a multiple of kv_heads, at most 64 times");
  require(head_dim >= 32 && head_dim % 32 == 0 && head_dim <= q3e::kMaxHeadDim, "head_dim: expected a multiple of 32 up to 256");
  return {heads, kv_heads, head_dim};
}

void bind_kernels(py::module_ m) {
  m.def("quantize_activations", &kernel_quantize, "isa"_a, "x"_a, "block"_a);
  m.def("rmsnorm", &kernel_rmsnorm, "isa"_a, "x"_a, "weight"_a, "eps"_a);
  m.def("rmsnorm_quantize", &kernel_rmsnorm_quantize, "isa"_a, "x"_a, "weight"_a, "eps"_a, "block"_a);
  m.def("silu_mul", &kernel_silu_mul, "isa"_a, "gate"_a, "up"_a);
  m.def("matmul", &kernel_matmul, "isa"_a, "format"_a, "packed"_a, "rows"_a, "columns"_a, "x"_a);
  m.def("attention", &kernel_attention, "isa"_a, "kv"_a, "qkv"_a, "heads"_a, "kv_heads"_a, "frequencies"_a,
        "q_weight"_a = py::none(), "k_weight"_a = py::none(), "bias"_a = py::none(), "eps"_a = 1e-6f, "tile"_a = 1);
  m.def("embed", &kernel_embed, "format"_a, "packed"_a, "rows"_a, "columns"_a, "row"_a);
  m.def("cos_sin", &kernel_cos_sin, "position"_a, "frequencies"_a);
  m.def(
      "time_matmul",
      [](const std::string& isa, const std::string& format, uint32_t rows, uint32_t columns, uint32_t tokens, int threads,
         double seconds, uint64_t bytes) {
        checked_packed_nbytes(block_format(format), rows, columns);
        require(threads >= 1 && threads <= 256 && tokens >= 1, "threads: expected 1 to 256, tokens: at least 1");
        return q3e::time_matmul(q3e::parse_isa(isa), block_format(format), rows, columns, tokens, threads, seconds, bytes);
      },
      "isa"_a, "format"_a, "rows"_a, "columns"_a, "tokens"_a, "threads"_a, "seconds"_a = 0.5, "bytes"_a = uint64_t{256} << 20,
      GilReleased());
  m.def(
      "time_attention",
      [](const std::string& isa, const std::string& kv, uint32_t heads, uint32_t kv_heads, uint32_t head_dim, uint32_t context,
         uint32_t layers, int threads, double seconds, uint32_t tokens) {
        require(threads >= 1 && threads <= 256 && tokens >= 1 && context >= tokens && layers >= 1,
                "threads: expected 1 to 256, tokens: 1 to context, layers: at least 1");
        const q3e::AttentionShape shape = attention_shape(heads, kv_heads, head_dim);
        return q3e::time_attention(q3e::parse_isa(isa), q3e::parse_kv(kv), shape, context, tokens, layers, threads, seconds);
      },
      "isa"_a, "kv"_a, "heads"_a, "kv_heads"_a, "head_dim"_a, "context"_a, "layers"_a, "threads"_a, "seconds"_a = 0.5,
      "tokens"_a = 1, GilReleased());
  m.def(
      "time_qk_norm_rope",
      [](const std::string& isa, const std::string& kv, uint32_t heads, uint32_t kv_heads, uint32_t head_dim, double seconds) {
        return q3e::time_qk_norm_rope(q3e::parse_isa(isa), q3e::parse_kv(kv), attention_shape(heads, kv_heads, head_dim),
                                      seconds);
      },
      "isa"_a, "kv"_a, "heads"_a, "kv_heads"_a, "head_dim"_a, "seconds"_a = 0.1, GilReleased());
  m.def("time_barrier", &q3e::time_barrier, "threads"_a, "seconds"_a = 0.2, GilReleased());
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
  m.def("read_bandwidth", &q3e::read_bandwidth, "threads"_a, "seconds"_a, GilReleased());
  m.def(
      "int8_peak",
      [](const std::string& isa, int threads, double seconds) { return q3e::int8_peak(q3e::parse_isa(isa), threads, seconds); },
      "isa"_a, "threads"_a, "seconds"_a, GilReleased());
  bind_files(m);
  bind_text(m);
  bind_engine(m);
  bind_kernels(m.def_submodule("kernels", "Single kernels, for tests and benches."));
}
