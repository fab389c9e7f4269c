#include "io/model_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <span>

#include "io/crc32.h"
#include "io/open_error.h"
#include "io/tensor_check.h"

namespace q3e {
namespace {

constexpr uint32_t kAlignment = 64;
// Experts are read past the page cache, in whole pages: tensors that hold them start at one.
constexpr uint32_t kExpertAlignment = 4096;
constexpr std::string_view kExperts = "_exps.weight";
constexpr uint32_t kFormatVersion = 1;
constexpr std::string_view kChecksums = "checksums";
constexpr std::string_view kUnfinished = ".part";  // how the converter names a file until it is complete
// Keep every product below in 64 bits: 2^27 panels of at most 2^30 bytes.
constexpr uint64_t kMaxRows = uint64_t{1} << 31;
constexpr uint64_t kMaxColumns = uint64_t{1} << 24;
constexpr uint64_t kLargePage = uint64_t{2} << 20;
constexpr uint64_t kCheckedPiece = uint64_t{4} << 20;

uint64_t align_up(uint64_t n, uint64_t to = kAlignment) { return (n + to - 1) / to * to; }
uint64_t page_bytes() { return static_cast<uint64_t>(sysconf(_SC_PAGESIZE)); }

// Where in the file a tensor of this name starts that has `at` for the first byte it may have.
uint64_t tensor_start(std::string_view name, uint64_t at) {
  return align_up(at, name.ends_with(kExperts) ? kExpertAlignment : kAlignment);
}

// What the path names, for the error when it is no regular file.
const char* describe(mode_t mode) {
  if (S_ISDIR(mode)) return "a directory";
  if (S_ISFIFO(mode)) return "a pipe";
  if (S_ISSOCK(mode)) return "a socket";
  return "a device";
}

struct FileDescriptor {
  int fd;
  ~FileDescriptor() {
    if (fd >= 0) close(fd);
  }
};

// A large page of a file is mapped as one only where its address is a multiple of its size; null when there is no room.
uint8_t* map_aligned(int fd, size_t nbytes) {
  const auto place =
      static_cast<uint8_t*>(mmap(nullptr, nbytes + kLargePage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  if (place == MAP_FAILED) return nullptr;
  uint8_t* const begin = place + (kLargePage - reinterpret_cast<uintptr_t>(place) % kLargePage) % kLargePage;
  uint8_t* const end = begin + align_up(nbytes, page_bytes());
  if (begin != place) munmap(place, static_cast<size_t>(begin - place));
  if (uint8_t* const last = place + align_up(nbytes + kLargePage, page_bytes()); last != end)
    munmap(end, static_cast<size_t>(last - end));
  // Some file systems (FUSE with direct_io, vboxsf, 9p) have no shared mappings; of what is only read, private ones are the same.
  int code = 0;
  for (const int sharing : {MAP_SHARED, MAP_PRIVATE}) {
    if (mmap(begin, nbytes, PROT_READ, sharing | MAP_FIXED, fd, 0) != MAP_FAILED) return begin;
    code = errno;
  }
  munmap(begin, static_cast<size_t>(end - begin));
  errno = code;
  return nullptr;
}

}  // namespace

ModelFile::ModelFile(const std::string& path) : path_(path) {
  map();
  try {
    parse();
    require_undamaged();
  } catch (...) {
    // Zeros that replaced lost pages look like any other fault: name the cause.
    const bool shrank = damaged();
    unmap();
    if (shrank) fail(Status::truncated_file, "the file shrank or could not be read while it was opened");
    throw;
  }
}

ModelFile::~ModelFile() { unmap(); }

void ModelFile::fail(Status status, const std::string& text) const { throw Error(status, path_ + ": " + text); }

void ModelFile::map() {
  if (std::string_view(path_).ends_with(kUnfinished))
    fail(Status::truncated_file, "expected a .q3e model, found what a conversion that was not finished left");
  // O_NONBLOCK: opening a pipe must not wait for a writer.
  const FileDescriptor file{open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (file.fd < 0) throw OpenError(path_, errno);
  struct stat info;
  if (fstat(file.fd, &info) != 0) fail(Status::io_error, std::string("cannot read its size: ") + std::strerror(errno));
  if (S_ISDIR(info.st_mode) && access((path_ + "/config.json").c_str(), F_OK) == 0)
    fail(Status::foreign_file,
         "expected a .q3e model, found the folder of a checkpoint; make a model of it with: qwen3edge convert FOLDER X.q3e");
  if (!S_ISREG(info.st_mode)) fail(Status::foreign_file, std::string("expected a .q3e model, found ") + describe(info.st_mode));
  if (info.st_size == 0) fail(Status::truncated_file, "expected a .q3e model, found an empty file");
  nbytes_ = static_cast<size_t>(info.st_size);
  identity_ = {info.st_dev, info.st_ino};
  uint8_t* const address = map_aligned(file.fd, nbytes_);
  if (!address)
    fail(errno == ENOMEM ? Status::out_of_memory : Status::io_error,
         "cannot map " + std::to_string(nbytes_) + " bytes: " + std::strerror(errno) +
             (errno == ENOMEM ? "" : "; copy it to a file system that allows it, such as a local disk"));
  bytes_ = address;
  madvise(address, nbytes_, MADV_NOHUGEPAGE);
  try {
    guard_ = std::make_unique<FaultGuard>(bytes_, nbytes_);
  } catch (...) {
    unmap();
    throw;
  }
}

void ModelFile::unmap() noexcept {
  guard_.reset();
  if (bytes_) munmap(const_cast<uint8_t*>(bytes_), nbytes_);
  bytes_ = nullptr;
}

void ModelFile::parse() {
  header_ = read_gguf_header(std::span<const uint8_t>(bytes_, nbytes_), path_);
  keys_.reserve(header_.metadata.size());
  for (const MetadataEntry& e : header_.metadata) keys_.emplace(e.key, &e);

  if (const uint32_t version = u32("qwen3edge.format_version"); version != kFormatVersion)
    fail(Status::foreign_file, "expected format version 1, found " + std::to_string(version) + "; convert the checkpoint again");
  if (const uint32_t alignment = u32("general.alignment"); alignment != kAlignment)
    fail(Status::bad_file, "expected general.alignment 64, found " + std::to_string(alignment));

  const uint64_t data_start = align_up(header_.header_bytes);
  read_tensor_table(data_start);
  read_checksums(data_start);
  check_gaps(data_start);
  names_.reserve(tensors_.size());
  for (const TensorView& t : tensors_) names_.emplace(t.name, &t);
}

void ModelFile::read_tensor_table(uint64_t data_start) {
  if (header_.tensors.empty() || header_.tensors.back().name != kChecksums)
    fail(Status::bad_file, "expected 'checksums' as the last tensor, found " +
                               (header_.tensors.empty() ? "no tensors" : quoted(header_.tensors.back().name)));
  const size_t count = header_.tensors.size() - 1;
  const MetadataEntry& formats = entry("qwen3edge.tensor.formats", ValueType::string, true);
  const MetadataEntry& rows = entry("qwen3edge.tensor.rows", ValueType::u64, true);
  const MetadataEntry& columns = entry("qwen3edge.tensor.columns", ValueType::u64, true);
  for (const MetadataEntry* e : {&formats, &rows, &columns})
    if (e->count != count)
      fail(Status::bad_file, "'" + std::string(e->key) + "' has " + std::to_string(e->count) + " entries for " +
                                 std::to_string(count) + " tensors");
  const std::vector<std::string_view> format_names = formats.as_strings();
  tensors_.reserve(count);
  uint64_t expected = 0;  // offset of the next tensor from data_start
  for (size_t i = 0; i <= count; ++i) {
    const GgufTensor& t = header_.tensors[i];
    const std::string name = "tensor " + quoted(t.name);
    expected = tensor_start(t.name, data_start + expected) - data_start;
    if (t.offset != expected)
      fail(Status::bad_file, name + " lies at offset " + std::to_string(t.offset) + ", expected " + std::to_string(expected) +
                                 " (tensors in order, no overlap, no holes)");
    uint64_t size = 4 * (count + 1);
    std::string meaning;
    if (i < count) {
      const BlockFormat* format = find_block_format(format_names[i]);
      const auto r = rows.at<uint64_t>(i), c = columns.at<uint64_t>(i);
      if (!format) fail(Status::bad_file, name + " has the unknown block format " + quoted(format_names[i]));
      const std::string shape = std::to_string(r) + " x " + std::to_string(c);
      if (r == 0 || r >= kMaxRows || c == 0 || c >= kMaxColumns)
        fail(Status::bad_file, name + " has the shape " + shape + ", expected 1 to 2^31-1 rows and 1 to 2^24-1 columns");
      if (!holds_columns(*format, c))
        fail(Status::bad_file, name + " has " + std::to_string(c) + " columns, which '" + format->name + "' cannot hold");
      if (format->kind == FormatKind::vector && r != 1)
        fail(Status::bad_file, name + " is a vector of " + std::to_string(r) + " rows, expected 1");
      size = packed_bytes(*format, r, c);
      meaning = " (" + shape + " as " + format->name + ")";
      tensors_.push_back({t.name, format, static_cast<uint32_t>(r), static_cast<uint32_t>(c), bytes_ + data_start + expected,
                          data_start + expected, size, 0});
    }
    if (t.nbytes != size)
      fail(Status::bad_file, name + " has " + std::to_string(t.nbytes) + " bytes, expected " + std::to_string(size) + meaning);
    // Compare without adding, since a sum of sizes could overflow.
    if (data_start > nbytes_ || expected > nbytes_ - data_start || size > nbytes_ - data_start - expected)
      fail(Status::truncated_file, name + " needs " + std::to_string(size) + " bytes at byte " +
                                       std::to_string(data_start + expected) + ", but the file has only " +
                                       std::to_string(nbytes_));
    expected += size;
  }
  const uint64_t end = data_start + header_.tensors.back().offset + header_.tensors.back().nbytes;
  if (nbytes_ != end)
    fail(Status::bad_file, "expected the file to end after its last tensor at byte " + std::to_string(end) + ", found " +
                               std::to_string(nbytes_) + " bytes");
}

void ModelFile::read_checksums(uint64_t data_start) {
  const uint8_t* sums = bytes_ + data_start + header_.tensors.back().offset;  // uint32 [tensors + 1]
  for (size_t i = 0; i < tensors_.size(); ++i) std::memcpy(&tensors_[i].crc32, sums + 4 * i, 4);
  uint32_t claimed;
  std::memcpy(&claimed, sums + 4 * tensors_.size(), 4);
  const uint32_t found = crc32(bytes_, data_start);
  require_undamaged();
  if (claimed != found)
    fail(Status::corrupt_file, "the header has the checksum " + std::to_string(found) + ", expected " + std::to_string(claimed) +
                                   ": the file is damaged");
}

void ModelFile::check_gaps(uint64_t data_start) const {
  const auto zeros = [&](uint64_t from, uint64_t to) {
    return std::all_of(bytes_ + from, bytes_ + to, [](uint8_t b) { return b == 0; });
  };
  bool ok = true;
  uint64_t at = header_.header_bytes;
  for (const GgufTensor& t : header_.tensors) {
    ok = ok && zeros(at, data_start + t.offset);
    at = data_start + t.offset + t.nbytes;
  }
  if (!ok) fail(Status::bad_file, "the gaps between tensors have bytes other than zero");
}

const MetadataEntry* ModelFile::find_key(std::string_view key) const {
  const auto it = keys_.find(key);
  if (it != keys_.end()) return it->second;
  require_undamaged();  // the names lie in the mapping, too
  return nullptr;
}

const MetadataEntry& ModelFile::entry(std::string_view key, ValueType type, bool is_array) const {
  const MetadataEntry* e = find_key(key);
  if (!e) fail(Status::bad_file, "the key '" + std::string(key) + "' is missing");
  if (e->type != type || e->is_array != is_array)
    fail(Status::bad_file, "the key '" + std::string(key) + "' is of type " + e->describe_type() + ", expected " +
                               (is_array ? "array of " : "") + value_type_name(type));
  return *e;
}

uint32_t ModelFile::u32(std::string_view key) const { return entry(key, ValueType::u32, false).at<uint32_t>(0); }
float ModelFile::f32(std::string_view key) const { return entry(key, ValueType::f32, false).at<float>(0); }
bool ModelFile::boolean(std::string_view key) const { return entry(key, ValueType::boolean, false).at<uint8_t>(0) != 0; }
std::string_view ModelFile::string(std::string_view key) const { return entry(key, ValueType::string, false).as_string(); }

std::vector<uint32_t> ModelFile::u32_array(std::string_view key) const {
  return entry(key, ValueType::u32, true).values<uint32_t>();
}

const TensorView& ModelFile::tensor(std::string_view name) const {
  const auto it = names_.find(name);
  if (it != names_.end()) return *it->second;
  require_undamaged();
  fail(Status::bad_file, "the tensor " + quoted(name) + " is missing");
}

// Of whole pages in a part of the file. May be refused, and is none the worse for it.
void ModelFile::advise(uint64_t begin, uint64_t end, uint64_t page, int advice) const {
  const uint64_t first = align_up(begin, page), last = end / page * page;
  if (first < last) madvise(const_cast<uint8_t*>(bytes_) + first, last - first, advice);
}

void ModelFile::release_header() const { drop(0, header_.header_bytes); }

void ModelFile::keep(uint64_t begin, uint64_t end) const { advise(begin, end, kLargePage, MADV_HUGEPAGE); }

void ModelFile::keep_out(uint64_t begin, uint64_t end) const {
  advise(begin, end, page_bytes(), MADV_RANDOM);
  drop(begin, end);
}

void ModelFile::drop(uint64_t begin, uint64_t end) const { advise(begin, end, page_bytes(), MADV_DONTNEED); }

void ModelFile::require_undamaged() const {
  if (damaged()) fail(Status::truncated_file, "the file shrank or could not be read while it was in use");
}

void ModelFile::verify(const Told& told) const {
  uint64_t done = 0, all = 0;
  for (const TensorView& t : tensors_) all += t.nbytes;
  const auto read = [&](uint64_t bytes) {
    done += bytes;
    if (told) told(done, all);
  };
  for (const TensorView& t : tensors_) {
    const std::string fault = check(t, read);
    require_undamaged();
    if (!fault.empty()) fail(Status::corrupt_file, "tensor " + quoted(t.name) + fault);
  }
}

// What is wrong with it, or nothing. A piece ends at a panel's end.
std::string ModelFile::check(const TensorView& t, const std::function<void(uint64_t)>& read) const {
  const bool is_matrix = t.format->kind != FormatKind::vector;
  const uint64_t unit = is_matrix ? panel_layout(*t.format, t.columns).bytes : t.nbytes;
  const uint64_t panels = std::max<uint64_t>(1, kCheckedPiece / unit);
  uint32_t found = 0;
  std::string fault;
  for (uint64_t at = 0, panel = 0; at < t.nbytes; at += panels * unit, panel += panels) {
    const uint64_t bytes = std::min(panels * unit, t.nbytes - at);
    found = crc32(t.data + at, bytes, found);
    const uint64_t rows = std::min<uint64_t>(panels * kPanelRows, t.rows - (is_matrix ? panel * kPanelRows : 0));
    if (fault.empty()) fault = find_fault(*t.format, t.data + at, rows, t.columns, panel);
    drop(t.offset + at, t.offset + at + bytes);
    read(bytes);
  }
  if (found != t.crc32) return " has the checksum " + std::to_string(found) + ", expected " + std::to_string(t.crc32);
  return fault.empty() ? fault : ": " + fault;
}

}  // namespace q3e
