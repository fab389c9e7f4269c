// Block formats: pack and unpack a matrix.
#include <string>

#include "bindings/bindings.h"
#include "ukernels/pack.h"

namespace q3e::bindings {

namespace {

Bytes quantize(const std::string& name, const py::array& weights, const std::optional<std::string>& isa,
               const std::optional<Floats>& importance) {
  const BlockFormat& format = block_format(name);
  if (weights.ndim() != 2) fail("weights: expected 2 dimensions, found " + std::to_string(weights.ndim()));
  const auto dtype = weights.dtype();
  SourceType type = SourceType::f32;
  if (dtype.kind() == 'f' && dtype.itemsize() == 2)
    type = SourceType::f16;
  else if (dtype.kind() == 'u' && dtype.itemsize() == 2)
    type = SourceType::bf16;
  else if (dtype.kind() != 'f' || dtype.itemsize() != 4)
    fail("weights: expected float32, float16 or uint16 (bfloat16), found " + std::string(py::str(dtype)));
  const py::array source = py::array::ensure(weights, py::array::c_style);
  const auto rows = static_cast<uint64_t>(source.shape(0)), columns = static_cast<uint64_t>(source.shape(1));
  const Isa chosen = tier(isa);
  Bytes packed(static_cast<py::ssize_t>(checked_packed_nbytes(format, rows, columns)));
  uint8_t* out = packed.mutable_data();
  const void* data = source.data();
  if (importance && (importance->ndim() != 1 || static_cast<uint64_t>(importance->size()) != columns))
    fail("importance: expected a vector of " + std::to_string(columns) + " columns, found " + std::to_string(importance->size()));
  const float* counts = importance ? importance->data() : nullptr;
  const WithoutGil released;
  pack_matrix(format, type, data, rows, columns, counts, out, chosen);
  return packed;
}

py::array_t<float> dequantize(const std::string& name, const Bytes& packed, uint64_t rows, uint64_t columns) {
  const BlockFormat& format = block_format(name);
  const uint64_t expected = checked_packed_nbytes(format, rows, columns);
  if (static_cast<uint64_t>(packed.size()) != expected)
    fail("packed: expected " + std::to_string(expected) + " bytes, found " + std::to_string(packed.size()));
  py::array_t<float> out({static_cast<py::ssize_t>(rows), static_cast<py::ssize_t>(columns)});
  float* values = out.mutable_data();
  const uint8_t* bytes = packed.data();
  const WithoutGil released;
  unpack_matrix(format, bytes, rows, columns, values);
  return out;
}

}  // namespace

const BlockFormat& block_format(const std::string& name) {
  if (const BlockFormat* f = find_block_format(name)) return *f;
  std::string known;
  for (const BlockFormat& f : kBlockFormats) known += (known.empty() ? "" : ", ") + std::string(f.name);
  fail("block format: expected one of " + known + ", found '" + name + "'");
}

uint64_t checked_packed_nbytes(const BlockFormat& format, uint64_t rows, uint64_t columns) {
  check_shape(format, rows, columns);
  return packed_bytes(format, rows, columns);
}

void bind_formats(py::module_& m) {
  m.def("block_formats", [] {
    py::list out;
    for (const BlockFormat& f : kBlockFormats) {
      const uint32_t long_row = 1u << 20;
      const double bits =
          f.kind == FormatKind::vector ? 32.0 : 8.0 * static_cast<double>(panel_layout(f, long_row).bytes) / (16.0 * long_row);
      out.append(py::dict("name"_a = f.name, "block"_a = f.block, "group"_a = f.group, "bits"_a = bits));
    }
    return out;
  });
  m.def(
      "packed_nbytes",
      [](const std::string& name, uint64_t rows, uint64_t columns) {
        return checked_packed_nbytes(block_format(name), rows, columns);
      },
      "format"_a, "rows"_a, "columns"_a);
  m.def("quantize", &quantize, "format"_a, "weights"_a, py::kw_only(), "isa"_a = py::none(), "importance"_a = py::none());
  m.def("dequantize", &dequantize, "format"_a, "packed"_a, "rows"_a, "columns"_a);
}

}  // namespace q3e::bindings
