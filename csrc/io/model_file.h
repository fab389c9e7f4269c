// A mapped .q3e file (docs/format.md): the only parser of the format.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/block_format.h"
#include "base/error.h"
#include "io/direct_file.h"
#include "io/fault_guard.h"
#include "io/gguf_reader.h"

namespace q3e {

// A tensor as it lies in the file.
struct TensorView {
  std::string_view name;
  const BlockFormat* format;
  uint32_t rows;
  uint32_t columns;
  const uint8_t* data;  // [nbytes], 64-byte aligned: panels as in docs/format.md, or float32 [columns] for a vector
  uint64_t offset;      // of data, from the start of the file
  uint64_t nbytes;
  uint32_t crc32;  // that the file claims; only verify() compares it

  const float* as_vector() const { return reinterpret_cast<const float*>(data); }
};

// Everything but the tensors' own bytes is checked when the file is opened, so that whoever reads the views needs no checks.
class ModelFile {
 public:
  // Throws Error: io_error (cannot be opened or mapped), truncated_file, foreign_file, corrupt_file (the header's checksum),
  // bad_file.
  explicit ModelFile(const std::string& path);
  ~ModelFile();
  ModelFile(const ModelFile&) = delete;
  ModelFile& operator=(const ModelFile&) = delete;

  const std::string& path() const { return path_; }
  size_t nbytes() const { return nbytes_; }
  const uint8_t* bytes() const { return bytes_; }
  const FileIdentity& identity() const { return identity_; }

  const std::vector<MetadataEntry>& metadata() const { return header_.metadata; }
  const MetadataEntry* find_key(std::string_view key) const;  // null when absent; throws as require_undamaged
  // Throw Error(bad_file) when the key is absent or has another type.
  uint32_t u32(std::string_view key) const;
  float f32(std::string_view key) const;
  bool boolean(std::string_view key) const;
  std::string_view string(std::string_view key) const;
  std::vector<uint32_t> u32_array(std::string_view key) const;
  const MetadataEntry& array(std::string_view key, ValueType type) const { return entry(key, type, true); }

  const std::vector<TensorView>& tensors() const { return tensors_; }  // in the order of the file, without `checksums`
  const TensorView& tensor(std::string_view name) const;               // throws Error(bad_file) when absent

  // Reads every byte, a few MiB at a time, which leave this process again. Throws Error(corrupt_file) naming the first tensor
  // whose checksum differs, whose scales or values are not finite, or whose w8 leaves int8; truncated_file when the file shrank.
  // told: may be null; gets how many bytes of how many were read, and what it throws ends the reading.
  using Told = std::function<void(uint64_t done, uint64_t all)>;
  void verify(const Told& told = {}) const;
  // Takes the header's pages (metadata, 6 MB of vocabulary) out of this process; they come back when they are read.
  void release_header() const;
  // For a part of the file of which every byte will be read: large pages where they fit.
  void keep(uint64_t begin, uint64_t end) const;
  // For a part that is not read through the map: its pages leave this process. Advised otherwise than what is kept, as a fault
  // maps all of the page cache's piece that it meets, up to where the advice changes.
  void keep_out(uint64_t begin, uint64_t end) const;

  // The file shrank or could not be read while it was mapped: what was read since then may be zeros.
  bool damaged() const { return guard_ && guard_->damaged(); }
  void require_undamaged() const;  // throws Error(truncated_file)
  // Throws Error with the file's path before the text.
  [[noreturn]] void fail(Status status, const std::string& text) const;

 private:
  void map();
  void unmap() noexcept;
  void parse();
  std::string check(const TensorView& tensor, const std::function<void(uint64_t)>& read) const;
  void advise(uint64_t begin, uint64_t end, uint64_t page, int advice) const;
  void drop(uint64_t begin, uint64_t end) const;  // these pages leave this process; they come back when they are read
  void read_tensor_table(uint64_t data_start);
  void read_checksums(uint64_t data_start);
  void check_gaps(uint64_t data_start) const;
  const MetadataEntry& entry(std::string_view key, ValueType type, bool is_array) const;

  std::string path_;
  const uint8_t* bytes_ = nullptr;  // [nbytes_]
  size_t nbytes_ = 0;
  FileIdentity identity_;
  std::unique_ptr<FaultGuard> guard_;
  GgufHeader header_;
  std::vector<TensorView> tensors_;
  std::unordered_map<std::string_view, const MetadataEntry*> keys_;
  std::unordered_map<std::string_view, const TensorView*> names_;
};

}  // namespace q3e
