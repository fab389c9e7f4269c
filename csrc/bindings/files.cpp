// Files: the mapped model, its metadata and tensors.
#include <memory>

#include "bindings/bindings.h"
#include "io/crc32.h"
#include "ukernels/pack.h"

namespace q3e::bindings {

namespace {

template <typename T>
py::object metadata_numbers(const MetadataEntry& e) {
  if (!e.is_array) return py::cast(e.at<T>(0));
  py::list out(e.count);
  for (uint64_t i = 0; i < e.count; ++i) out[i] = py::cast(e.at<T>(i));
  return out;
}

py::object metadata_value(const MetadataEntry& e) {
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
  throw Error(Status::internal, "a metadata value of no type");
}

}  // namespace

void bind_files(py::module_& m) {
  m.def(
      "crc32",
      [](const py::buffer& data, uint32_t value) {
        const py::buffer_info info = data.request();
        py::ssize_t stride = info.itemsize;
        for (py::ssize_t i = info.ndim; i-- > 0; stride *= info.shape[i])
          if (info.strides[i] != stride && info.shape[i] > 1)
            throw Error(Status::bad_argument, "crc32: expected contiguous bytes");
        const WithoutGil released;
        return crc32(info.ptr, static_cast<size_t>(info.size * info.itemsize), value);
      },
      py::arg("data"), py::arg("value") = 0);

  py::class_<OpenFile, std::shared_ptr<OpenFile>>(m, "ModelFile")
      .def(py::init([](const py::object& path) {
             const std::string name = path_bytes(path);
             const WithoutGil released;
             return std::make_shared<OpenFile>(name);
           }),
           py::arg("path"))
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
          py::arg("key"))
      .def("tensors",
           [](const OpenFile& f) {
             py::list out;
             for (const TensorView& t : f.file.tensors()) {
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
            const TensorView& t = f->file.tensor(name);
            py::array_t<uint8_t> view({static_cast<py::ssize_t>(t.nbytes)}, {1}, t.data, py::cast(f));
            view.attr("setflags")(py::arg("write") = false);
            return view;
          },
          py::arg("name"))
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
          py::arg("name"))
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
