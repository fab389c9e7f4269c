#include "io/gguf_reader.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <unordered_set>

#include "base/error.h"
#include "io/utf8.h"

namespace q3e {
namespace {

static_assert(std::endian::native == std::endian::little, "the format is little-endian");

constexpr std::string_view kArchitecture = "qwen3edge";
constexpr uint32_t kVersion = 3;
constexpr uint32_t kTypeI8 = 24;         // GGML_TYPE_I8
constexpr uint64_t kMaxKeys = 1u << 16;  // bounds what a header can make the reader allocate
constexpr uint64_t kMaxTensors = 1u << 20;
constexpr uint64_t kMinKeyBytes = 8 + 4 + 1;  // empty key, type, one byte
constexpr uint64_t kMinTensorBytes = 8 + 4 + 8 + 4 + 8;

// Bytes of one element; 0 for strings and arrays.
constexpr size_t scalar_bytes(ValueType type) {
  constexpr size_t kBytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
  return kBytes[static_cast<uint32_t>(type)];
}

class Cursor {
 public:
  Cursor(std::span<const uint8_t> bytes, const std::string& path) : bytes_(bytes), path_(path) {}

  uint64_t position() const { return at_; }
  uint64_t remaining() const { return bytes_.size() - at_; }
  const uint8_t* here() const { return bytes_.data() + at_; }

  const uint8_t* take(uint64_t nbytes, const char* what) {
    if (nbytes > remaining()) ends_early(nbytes, what);
    const uint8_t* p = here();
    at_ += nbytes;
    return p;
  }

  template <typename T>
  T value(const char* what) {
    T v;
    std::memcpy(&v, take(sizeof v, what), sizeof v);
    return v;
  }

  std::string_view string(const char* what) {
    const auto length = value<uint64_t>(what);
    const uint64_t start = at_;
    const uint8_t* p = take(length, what);
    const std::string_view text(reinterpret_cast<const char*>(p), length);
    if (!is_utf8(text)) fail(std::string(what) + " at byte " + std::to_string(start) + " is no UTF-8");
    return text;
  }

  // A count of things of at least `least` bytes each must fit the rest of the file before anything is allocated for it.
  uint64_t count(const char* what, uint64_t least, uint64_t limit) {
    const auto n = value<uint64_t>(what);
    if (n > remaining() / least)
      throw Error(Status::truncated_file, path_ + ": " + what + " is " + std::to_string(n) + ", but the file has only " +
                                              std::to_string(remaining()) + " bytes left");
    if (n > limit) fail(std::string(what) + " is " + std::to_string(n) + ", expected at most " + std::to_string(limit));
    return n;
  }

  [[noreturn]] void ends_early(uint64_t nbytes, const char* what) const {
    throw Error(Status::truncated_file, path_ + ": " + what + " at byte " + std::to_string(at_) + " needs " +
                                            std::to_string(nbytes) + " bytes, but the file ends after " +
                                            std::to_string(remaining()));
  }
  [[noreturn]] void fail(const std::string& text) const { throw Error(Status::bad_file, path_ + ": " + text); }

 private:
  std::span<const uint8_t> bytes_;
  const std::string& path_;
  uint64_t at_ = 0;
};

ValueType read_type(Cursor& in, std::string_view key, bool in_array) {
  const auto type = in.value<uint32_t>("a metadata type");
  if (type > static_cast<uint32_t>(ValueType::f64))
    in.fail("key " + quoted(key) + " has type " + std::to_string(type) + ", expected 0 to 12");
  if (in_array && static_cast<ValueType>(type) == ValueType::array)
    in.fail("key " + quoted(key) + " is an array of arrays, expected an array of numbers, bools or strings");
  return static_cast<ValueType>(type);
}

void check_bools(const Cursor& in, const MetadataEntry& entry) {
  for (uint64_t i = 0; i < entry.count; ++i)
    if (entry.data[i] > 1)
      in.fail("key " + quoted(entry.key) + " has a bool of " + std::to_string(entry.data[i]) + ", expected 0 or 1");
}

MetadataEntry read_entry(Cursor& in) {
  MetadataEntry entry{};
  entry.key = in.string("a metadata key");
  if (entry.key.empty()) in.fail("a metadata key is empty");
  entry.type = read_type(in, entry.key, false);
  entry.is_array = entry.type == ValueType::array;
  entry.count = 1;
  if (entry.is_array) {
    entry.type = read_type(in, entry.key, true);
    const size_t each = entry.type == ValueType::string ? sizeof(uint64_t) : scalar_bytes(entry.type);
    entry.count = in.count("the length of a metadata array", each, UINT64_MAX);
  }
  entry.data = in.here();
  if (entry.type == ValueType::string) {
    for (uint64_t i = 0; i < entry.count; ++i) in.string("a metadata string");
  } else {
    in.take(entry.count * scalar_bytes(entry.type), "a metadata value");  // cannot overflow: count() compared with the file
  }
  entry.nbytes = static_cast<size_t>(in.here() - entry.data);
  if (entry.type == ValueType::boolean) check_bools(in, entry);
  return entry;
}

// Before the tensors, which another program's GGUF file describes in its own way.
void check_architecture(const std::vector<MetadataEntry>& metadata, const std::string& path) {
  const auto is_name = [](const MetadataEntry& e) { return e.key == "general.architecture"; };
  const auto found = std::find_if(metadata.begin(), metadata.end(), is_name);
  const bool named = found != metadata.end() && !found->is_array && found->type == ValueType::string;
  if (named && found->as_string() == kArchitecture) return;
  throw Error(Status::foreign_file, path + ": expected a .q3e model, found a GGUF file of " +
                                        (named ? "architecture " + quoted(found->as_string()) : "no architecture") +
                                        "; make a model of it with: qwen3edge convert X.gguf X.q3e");
}

GgufTensor read_tensor(Cursor& in) {
  GgufTensor tensor{};
  tensor.name = in.string("a tensor name");
  const std::string name = quoted(tensor.name);
  if (tensor.name.empty()) in.fail("a tensor name is empty");
  const auto dimensions = in.value<uint32_t>("a tensor's number of dimensions");
  if (dimensions != 1) in.fail("tensor " + name + " has " + std::to_string(dimensions) + " dimensions, expected 1");
  tensor.nbytes = in.value<uint64_t>("a tensor's dimension");
  const auto type = in.value<uint32_t>("a tensor's type");
  if (type != kTypeI8) in.fail("tensor " + name + " has type " + std::to_string(type) + ", expected 24 (I8)");
  tensor.offset = in.value<uint64_t>("a tensor's offset");
  if (tensor.nbytes == 0) in.fail("tensor " + name + " has no bytes");
  return tensor;
}

void check_magic(std::span<const uint8_t> file, const std::string& path) {
  constexpr std::string_view kMagic = "GGUF";
  constexpr std::string_view kPointer = "version https://git-lfs";
  const std::string_view start(reinterpret_cast<const char*>(file.data()), std::min<size_t>(file.size(), kPointer.size()));
  if (start.empty()) throw Error(Status::truncated_file, path + ": expected a .q3e model, found an empty file");
  if (start == kPointer)
    throw Error(Status::foreign_file,
                path + ": expected a .q3e model, found a Git LFS pointer; fetch the file itself (git lfs pull)");
  if (kMagic.starts_with(start))
    throw Error(Status::truncated_file,
                path + ": expected a .q3e model, found only " + std::to_string(file.size()) + " bytes of one");
  if (!start.starts_with(kMagic))
    throw Error(Status::foreign_file,
                path + ": expected a .q3e model, which starts with 'GGUF', found " + quoted(start.substr(0, 4)));
}

}  // namespace

const char* value_type_name(ValueType type) {
  static constexpr const char* kNames[] = {"uint8", "int8",   "uint16", "int16",  "uint32", "int32",  "float32",
                                           "bool",  "string", "array",  "uint64", "int64",  "float64"};
  return kNames[static_cast<uint32_t>(type)];
}

std::string MetadataEntry::describe_type() const { return (is_array ? "array of " : "") + std::string(value_type_name(type)); }

std::string_view MetadataEntry::as_string() const {
  return {reinterpret_cast<const char*>(data) + sizeof(uint64_t), nbytes - sizeof(uint64_t)};
}

std::vector<std::string_view> MetadataEntry::as_strings() const {
  std::vector<std::string_view> out;
  out.reserve(count);
  const uint8_t* p = data;
  for (uint64_t i = 0; i < count; ++i) {
    uint64_t length;
    std::memcpy(&length, p, sizeof length);
    p += sizeof length;
    // Checked when the file was opened; a file that somebody writes to may have changed since.
    if (length > static_cast<uint64_t>(data + nbytes - p) - sizeof length * (count - 1 - i))
      throw Error(Status::truncated_file, "key " + quoted(key) + " changed while the file was in use");
    out.emplace_back(reinterpret_cast<const char*>(p), length);
    p += length;
  }
  return out;
}

std::string quoted(std::string_view text) {
  constexpr size_t kLongest = 80;
  std::string out = "'";
  for (size_t i = 0; i < text.size() && i < kLongest; ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    out += c < 0x20 || c == 0x7f || c == '\'' || c >= 0x80 ? '?' : text[i];
  }
  if (text.size() > kLongest) out += "...";
  out += '\'';
  return out;
}

GgufHeader read_gguf_header(std::span<const uint8_t> file, const std::string& path) {
  check_magic(file, path);
  Cursor in(file, path);
  in.take(4, "the magic");
  const auto version = in.value<uint32_t>("the version");
  if (version != kVersion)
    throw Error(Status::foreign_file, path + ": expected GGUF version 3, found " + std::to_string(version));
  const uint64_t tensor_count = in.count("the number of tensors", kMinTensorBytes, kMaxTensors);
  const uint64_t key_count = in.count("the number of metadata keys", kMinKeyBytes, kMaxKeys);

  GgufHeader header{};
  header.metadata.reserve(key_count);
  std::unordered_set<std::string_view> seen;
  for (uint64_t i = 0; i < key_count; ++i) {
    header.metadata.push_back(read_entry(in));
    if (!seen.insert(header.metadata.back().key).second) in.fail("key " + quoted(header.metadata.back().key) + " stands twice");
  }
  check_architecture(header.metadata, path);
  seen.clear();
  header.tensors.reserve(tensor_count);
  for (uint64_t i = 0; i < tensor_count; ++i) {
    header.tensors.push_back(read_tensor(in));
    if (!seen.insert(header.tensors.back().name).second)
      in.fail("tensor " + quoted(header.tensors.back().name) + " stands twice");
  }
  header.header_bytes = in.position();
  return header;
}

}  // namespace q3e
