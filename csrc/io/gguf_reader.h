// A bounds-checked walk through the header of a GGUF v3 file. Knows GGUF, not what is in it: io/model_file.h does.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace q3e {

// GGUF's numbers.
enum class ValueType : uint32_t {
  u8 = 0,
  i8 = 1,
  u16 = 2,
  i16 = 3,
  u32 = 4,
  i32 = 5,
  f32 = 6,
  boolean = 7,
  string = 8,
  array = 9,
  u64 = 10,
  i64 = 11,
  f64 = 12,
};

const char* value_type_name(ValueType type);

// One key. Views point into the file's bytes.
struct MetadataEntry {
  std::string_view key;
  ValueType type;  // of the value, or of an array's elements
  bool is_array;
  uint64_t count;       // elements; 1 unless is_array
  const uint8_t* data;  // [nbytes]; a string stands here with its length of 8 bytes before it
  size_t nbytes;

  std::string describe_type() const;  // "uint32", "array of string"
  // The callers have compared type and is_array.
  std::string_view as_string() const;
  std::vector<std::string_view> as_strings() const;
  template <typename T>
  T at(uint64_t index) const {
    T v;
    std::memcpy(&v, data + index * sizeof v, sizeof v);
    return v;
  }
  template <typename T>
  std::vector<T> values() const {
    std::vector<T> out(count);
    if (count > 0) std::memcpy(out.data(), data, count * sizeof(T));
    return out;
  }
};

struct GgufTensor {
  std::string_view name;
  uint64_t nbytes;  // its one dimension, type I8
  uint64_t offset;  // from the start of the data
};

struct GgufHeader {
  std::vector<MetadataEntry> metadata;
  std::vector<GgufTensor> tensors;
  uint64_t header_bytes;  // up to the end of the last tensor's description
};

// Throws Error: truncated_file when the bytes end too early, foreign_file for another kind or version of file, bad_file for a
// rule of GGUF or of docs/format.md that is broken. `path` is for the texts. Strings are checked to be UTF-8, keys and names to
// be unique.
GgufHeader read_gguf_header(std::span<const uint8_t> file, const std::string& path);

// Text from a file for an error message: in quotes, at most 80 bytes, what is not printable ASCII replaced.
std::string quoted(std::string_view text);

}  // namespace q3e
