// Files: the mapped model, its metadata and tensors.
#include <memory>

#include "bindings/bindings.h"
#include "io/crc32.h"
#include "ukernels/pack.h"

namespace q3e::bindings {

namespace {

py::object metadata_value(const MetadataEntry& e) {
  py::list out;
  if (e.type == ValueType::string) {
    if (!e.is_array) return py::str(e.as_string().data(), e.as_string().size());
    for (const std::string_view s : e.as_strings()) out.append(py::str(s.data(), s.size()));
  } else if (e.count > 0) {                                                     // of no elements there is no view
    const std::string format(1, "BbHhIif?  Qqd"[static_cast<size_t>(e.type)]);  // of Python's struct, by ValueType
    out = py::memoryview::from_memory(e.data, static_cast<py::ssize_t>(e.nbytes)).attr("cast")(format).attr("tolist")();
  }
  return e.is_array ? out : py::object(out[0]);
}

}  // namespace

void bind_files(py::module_& m) {
  m.def(
      "crc32",
      [](const py::buffer& data, uint32_t value) {
        const py::buffer_info info = data.request();
        py::ssize_t stride = info.itemsize;
        for (py::ssize_t i = info.ndim; i-- > 0; stride *= info.shape[i])
          if (info.strides[i] != stride && info.shape[i] > 1) fail("crc32: expected contiguous bytes");
        const WithoutGil released;
        return crc32(info.ptr, static_cast<size_t>(info.size * info.itemsize), value);
      },
      "data"_a, "value"_a = 0);

  py::class_<OpenFile, std::shared_ptr<OpenFile>>(m, "ModelFile")
      .def(py::init([](const py::object& path) {
             const std::string name = path_bytes(path);
             const WithoutGil released;
             return std::make_shared<OpenFile>(name);
           }),
           "path"_a)
      .def_property_readonly("path", [](const OpenFile& f) { return path_text(f.file.path()); })
      .def_property_readonly("nbytes", [](const OpenFile& f) { return f.file.nbytes(); })
      .def("keys",
           [](const OpenFile& f) {
             py::list out;
             for (const MetadataEntry& e : f.file.metadata()) out.append(py::str(e.key.data(), e.key.size()));
             return out;
           })
      .def("__contains__", [](const OpenFile& f, const std::string& key) { return f.file.find_key(key) != nullptr; })
      .def(
          "get",
          [](const OpenFile& f, const std::string& key) {
            const MetadataEntry* e = f.file.find_key(key);
            if (!e) throw py::key_error(key);
            py::object value = metadata_value(*e);
            f.file.require_undamaged();
            return value;
          },
          "key"_a)
      .def("tensors",
           [](const OpenFile& f) {
             py::list out;
             for (const TensorView& t : f.file.tensors())
               out.append(py::dict("name"_a = py::str(t.name.data(), t.name.size()), "format"_a = t.format->name,
                                   "rows"_a = t.rows, "columns"_a = t.columns, "offset"_a = t.offset, "nbytes"_a = t.nbytes,
                                   "crc32"_a = t.crc32));
             return out;
           })
      .def(
          "packed",
          [](const std::shared_ptr<OpenFile>& f, const std::string& name) {
            const TensorView& t = f->file.tensor(name);
            py::array_t<uint8_t> view({static_cast<py::ssize_t>(t.nbytes)}, {1}, t.data, py::cast(f));
            view.attr("setflags")("write"_a = false);
            return view;
          },
          "name"_a)
      .def(
          "dequantize",
          [](const OpenFile& f, const std::string& name) {
            const TensorView& t = f.file.tensor(name);
            py::array_t<float> out({static_cast<py::ssize_t>(t.rows), static_cast<py::ssize_t>(t.columns)});
            float* values = out.mutable_data();
            {
              const WithoutGil released;
              unpack_matrix(*t.format, t.data, t.rows, t.columns, values);
              f.file.require_undamaged();
            }
            return out;
          },
          "name"_a)
      .def("blocks",
           [](const OpenFile& f) {
             std::vector<std::pair<std::string, uint32_t>> out;
             for (const PlacedBlock& placed : f.model.blocks) out.emplace_back(placed.block->kind(), placed.layer);
             return out;
           })
      .def("release_header", [](const OpenFile& f) { f.file.release_header(); })
      .def("verify", [](const OpenFile& f) { f.file.verify(); }, GilReleased());
}

}  // namespace q3e::bindings
