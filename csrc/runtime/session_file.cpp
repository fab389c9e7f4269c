#include "runtime/session_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "base/error.h"
#include "io/crc32.h"
#include "io/open_error.h"
#include "runtime/numerics.h"

namespace q3e {
namespace {

constexpr char kMagic[8] = {'Q', '3', 'E', 'S', 'A', 'V', 'E', 'D'};
constexpr uint32_t kVersion = 4;
// An answer's end, and where it was asked for: the next prompt often differs from there on.
constexpr uint32_t kMostStates = 2;
constexpr uint64_t kMostTokens = uint64_t{1} << 28, kMostNote = uint64_t{1} << 28;

// Little endian, without gaps.
struct Header {
  char magic[8];
  uint32_t version, numerics;
  uint64_t model;  // fingerprint
  uint32_t kv, page_tokens;
  uint64_t page_bytes, tokens, note_bytes, kept;  // kept: tokens whose pages are here
  uint64_t state_bytes, states[kMostStates];      // of a state that is no page; tokens that each is of, most first, 0: none
  float min_expert_share;
  uint32_t crc32;  // of this header, with 0 here, then of the tokens and of the note
};
static_assert(sizeof(Header) == 96);

// FNV-1a of everything that a model's states depend on: its shape, and the checksums of its weights.
class Fingerprint {
 public:
  void add(const void* data, size_t nbytes) {
    for (size_t i = 0; i < nbytes; ++i) hash_ = (hash_ ^ static_cast<const uint8_t*>(data)[i]) * 1099511628211u;
  }
  void add(std::string_view text) {
    add_number(text.size());
    add(text.data(), text.size());
  }
  void add_number(uint64_t number) { add(&number, sizeof number); }
  uint64_t value() const { return hash_; }

 private:
  uint64_t hash_ = 14695981039346656037u;
};

uint64_t fingerprint_of(const ModelFile& file) {
  Fingerprint f;
  const std::string_view architecture = file.string("general.architecture");
  for (const MetadataEntry& entry : file.metadata())
    if (entry.key.starts_with(architecture)) {
      f.add(entry.key);
      f.add({reinterpret_cast<const char*>(entry.data), entry.nbytes});
    }
  for (const TensorView& tensor : file.tensors()) {
    f.add(tensor.name);
    f.add(tensor.format->name);
    for (const uint64_t number : {uint64_t{tensor.rows}, uint64_t{tensor.columns}, uint64_t{tensor.crc32}}) f.add_number(number);
  }
  return f.value();
}

Header header_of(const Engine& engine, uint64_t tokens, uint64_t note_bytes) {
  Header h{};
  std::memcpy(h.magic, kMagic, sizeof kMagic);
  h.version = kVersion;
  h.numerics = kNumericsVersion;
  h.model = fingerprint_of(engine.file());
  h.kv = static_cast<uint32_t>(engine.plan().settings.kv);
  h.page_tokens = engine.limits().page_tokens;
  h.page_bytes = engine.page_bytes();
  h.state_bytes = engine.state_bytes();
  h.tokens = tokens;
  h.note_bytes = note_bytes;
  h.min_expert_share = engine.plan().settings.min_expert_share;
  return h;
}

uint32_t checksum(Header header, std::span<const int32_t> tokens, std::string_view note) {
  header.crc32 = 0;
  uint32_t sum = crc32(&header, sizeof header);
  sum = crc32(tokens.data(), tokens.size_bytes(), sum);
  return crc32(note.data(), note.size(), sum);
}

// A descriptor, closed at the end of its scope.
class OpenFileDescriptor {
 public:
  // shown: in messages.
  OpenFileDescriptor(const std::string& path, int flags, const std::string& shown)
      : path_(shown), fd_(::open(path.c_str(), flags | O_CLOEXEC, 0600)) {
    if (fd_ < 0) throw OpenError(shown, errno);
  }
  ~OpenFileDescriptor() { ::close(fd_); }
  OpenFileDescriptor(const OpenFileDescriptor&) = delete;
  OpenFileDescriptor& operator=(const OpenFileDescriptor&) = delete;

  void write(const void* data, size_t nbytes) {
    for (const auto* at = static_cast<const char*>(data); nbytes > 0;) {
      const ssize_t n = ::write(fd_, at, nbytes);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) fail("write");
      at += n;
      nbytes -= static_cast<size_t>(n);
    }
  }
  void read(void* data, size_t nbytes) {
    for (auto* at = static_cast<char*>(data); nbytes > 0;) {
      const ssize_t n = ::read(fd_, at, nbytes);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) fail("read");
      if (n == 0) throw Error(Status::truncated_file, path_ + ": expected " + std::to_string(nbytes) + " more bytes, found none");
      at += n;
      nbytes -= static_cast<size_t>(n);
    }
  }
  void seek(uint64_t offset) {
    if (::lseek(fd_, static_cast<off_t>(offset), SEEK_SET) < 0) fail("seek");
  }
  void sync() {
    if (::fsync(fd_) != 0 && errno != EINVAL && errno != ENOTSUP) fail("fsync");
  }
  uint64_t size() const {
    struct stat info;
    if (::fstat(fd_, &info) != 0) fail("fstat");
    if (!S_ISREG(info.st_mode)) throw Error(Status::io_error, path_ + ": expected a file, found something else");
    return static_cast<uint64_t>(info.st_size);
  }

 private:
  [[noreturn]] void fail(const char* what) const {
    throw Error(Status::io_error, path_ + ": " + what + ": " + std::strerror(errno));
  }
  std::string path_;
  int fd_;
};

// Where a link leads, so that it stays one. Throws Error(io_error) for what is there and is no file: a device or a folder.
std::string place_of(const std::string& path) {
  struct stat info;
  if (::stat(path.c_str(), &info) != 0) return path;
  if (!S_ISREG(info.st_mode)) throw Error(Status::io_error, path + ": expected a file or a new name, found something else");
  const std::unique_ptr<char, decltype(&std::free)> resolved(::realpath(path.c_str(), nullptr), &std::free);
  return resolved ? resolved.get() : path;
}

// A file of another name beside `path`, which is gone again unless it took its place.
class NewFile {
 public:
  explicit NewFile(const std::string& path)
      : path_(place_of(path)),
        beside_(path + ".new-" + std::to_string(::getpid()) + "-" + std::to_string(++number)),
        file_(beside_, O_WRONLY | O_CREAT | O_EXCL, path) {}
  ~NewFile() {
    if (!done_) ::unlink(beside_.c_str());
  }
  NewFile(const NewFile&) = delete;
  NewFile& operator=(const NewFile&) = delete;

  OpenFileDescriptor& file() { return file_; }
  void take_place() {
    file_.sync();
    if (::rename(beside_.c_str(), path_.c_str()) != 0) throw OpenError(path_, errno);
    done_ = true;
  }

 private:
  static inline std::atomic<uint32_t> number{0};
  std::string path_, beside_;
  OpenFileDescriptor file_;
  bool done_ = false;
};

[[noreturn]] void foreign(const std::string& path, const std::string& expected, const std::string& found) {
  throw Error(Status::foreign_file, path + ": expected " + expected + ", found " + found);
}

void require_same(const std::string& path, const Header& found, const Header& own) {
  if (std::memcmp(found.magic, kMagic, sizeof kMagic) != 0) foreign(path, "a saved session", "another kind of file");
  if (found.version != own.version)
    foreign(path, "version " + std::to_string(own.version) + " of saved sessions", std::to_string(found.version));
  if (found.numerics != own.numerics)
    foreign(path, "numerics version " + std::to_string(own.numerics) + ", with which this program computes",
            std::to_string(found.numerics) + ": what it holds must be computed again");
  if (found.model != own.model) foreign(path, "a session of this model", "another model's");
  if (found.min_expert_share != own.min_expert_share)
    foreign(path, "min_expert_share " + std::to_string(own.min_expert_share), std::to_string(found.min_expert_share));
  if (found.kv != own.kv || found.page_bytes != own.page_bytes || found.page_tokens != own.page_tokens) {
    const bool known = found.kv <= static_cast<uint32_t>(KvType::int4);
    foreign(path, std::string("a KV cache in ") + kv_name(static_cast<KvType>(own.kv)),
            known ? kv_name(static_cast<KvType>(found.kv)) : "another type");
  }
}

uint32_t state_count(const Header& h) {
  uint32_t n = 0;
  while (n < kMostStates && h.states[n] > 0) ++n;
  return n;
}

// Each is of fewer tokens than the one before, no page lies behind the first, and an engine without states has none.
bool plausible_states(const Header& h) {
  const uint32_t n = state_count(h);
  for (uint32_t i = 0; i < kMostStates; ++i)
    if (h.states[i] > (i == 0 ? h.tokens : i < n ? h.states[i - 1] - 1 : 0)) return false;
  return h.state_bytes == 0 ? n == 0 : h.kept <= h.states[0];
}

}  // namespace

void save_session(Engine& engine, std::span<const int32_t> tokens, std::string_view note, const std::string& path) {
  if (tokens.size() > kMostTokens || note.size() > kMostNote)
    throw Error(Status::bad_argument, "save: expected at most " + std::to_string(kMostTokens) + " tokens and a note of " +
                                          std::to_string(kMostNote) + " bytes, found " + std::to_string(tokens.size()) + " and " +
                                          std::to_string(note.size()));
  NewFile made(path);
  Header header = header_of(engine, tokens.size(), note.size());
  OpenFileDescriptor& file = made.file();
  file.write(&header, sizeof header);
  const std::span<const int32_t> all = tokens;
  file.write(all.data(), all.size_bytes());
  file.write(note.data(), note.size());
  const auto write_page = [&](std::span<const uint8_t> page) {
    const uint32_t sum = crc32(page.data(), page.size());
    file.write(&sum, sizeof sum);
    file.write(page.data(), page.size());
  };
  if (header.state_bytes > 0) {
    auto beginning = tokens;
    for (uint64_t& state : header.states) {
      state = engine.read_state(beginning, write_page);
      if (state == 0) break;
      beginning = tokens.first(state - 1);
    }
    tokens = tokens.first(header.states[0]);  // pages behind it would be of no use
  }
  for (uint32_t rows = header.page_tokens, page = 0; rows == header.page_tokens; ++page)
    header.kept += rows = engine.read_page(tokens, page, write_page);
  header.crc32 = checksum(header, all, note);
  file.seek(0);
  file.write(&header, sizeof header);
  made.take_place();
}

SavedSession load_session(Engine& engine, const std::string& path) {
  OpenFileDescriptor file(path, O_RDONLY, path);
  Header header;
  if (file.size() < sizeof header) foreign(path, "a saved session", "a file of " + std::to_string(file.size()) + " bytes");
  file.read(&header, sizeof header);
  require_same(path, header, header_of(engine, 0, 0));
  if (header.tokens > kMostTokens || header.note_bytes > kMostNote || header.kept > header.tokens ||
      header.state_bytes != engine.state_bytes() || !plausible_states(header))
    throw Error(Status::corrupt_file, path + ": expected the sizes of a session, found others");
  const uint64_t pages = engine.limits().pages_for(static_cast<uint32_t>(header.kept));
  const uint64_t pages_bytes = pages * (sizeof(uint32_t) + header.page_bytes);
  const uint64_t state_bytes = sizeof(uint32_t) + header.state_bytes;
  const auto states = std::span(header.states).first(state_count(header));
  const uint64_t states_at = sizeof header + header.tokens * sizeof(int32_t) + header.note_bytes;
  const uint64_t pages_at = states_at + states.size() * state_bytes, expected = pages_at + pages_bytes;
  if (file.size() != expected)
    throw Error(Status::truncated_file,
                path + ": expected " + std::to_string(expected) + " bytes, found " + std::to_string(file.size()));
  SavedSession saved{std::vector<int32_t>(header.tokens), std::string(header.note_bytes, '\0')};
  file.read(saved.tokens.data(), saved.tokens.size() * sizeof(int32_t));
  file.read(saved.note.data(), saved.note.size());
  if (checksum(header, saved.tokens, saved.note) != header.crc32)
    throw Error(Status::corrupt_file, path + ": expected the checksum of its header, found another");
  const auto read_checked = [&](uint64_t at, std::span<uint8_t> bytes, const std::string& what) {
    uint32_t claimed = 0;
    file.seek(at);
    file.read(&claimed, sizeof claimed);
    file.read(bytes.data(), bytes.size());
    if (crc32(bytes.data(), bytes.size()) != claimed)
      throw Error(Status::corrupt_file, path + ": expected the checksum of " + what + ", found another");
  };
  uint64_t restored = 0;  // tokens whose pages are there
  for (uint64_t i = 0; i < pages; ++i) {
    const auto tokens = std::span(saved.tokens).first(std::min((i + 1) * header.page_tokens, header.kept));
    const bool kept = engine.restore_page(tokens, [&](std::span<uint8_t> page) {
      read_checked(pages_at + i * (sizeof(uint32_t) + page.size()), page, "page " + std::to_string(i));
    });
    if (!kept) break;
    restored = tokens.size();
  }
  // The longest last: it was used last, and leaves last.
  for (size_t i = states.size(); i-- > 0;)
    if (states[i] <= restored)
      engine.restore_state(std::span(saved.tokens).first(states[i]), [&](std::span<uint8_t> state) {
        read_checked(states_at + i * state_bytes, state, "state " + std::to_string(i));
      });
  return saved;
}

}  // namespace q3e
