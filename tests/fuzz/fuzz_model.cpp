// libFuzzer: any bytes as a .q3e file, opened, read, planned, run and sampled from. Whatever they are, the outcome is an answer
// or an Error.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "io/crc32.h"
#include "io/gguf_reader.h"
#include "io/model_file.h"
#include "runtime/engine.h"
#include "runtime/sampler.h"
#include "text/answer_text.h"
#include "text/bpe.h"
#include "ukernels/unpack_row.h"

namespace {

using namespace q3e;

// The header's checksum is the last word of a file: it is made right, as no mutation would find it.
void mend_checksum(std::vector<uint8_t>& bytes) {
  try {
    const uint64_t header = (read_gguf_header(bytes, "fuzz").header_bytes + 63) / 64 * 64;
    if (header + 4 > bytes.size()) return;
    const uint32_t sum = crc32(bytes.data(), header);
    std::memcpy(bytes.data() + bytes.size() - 4, &sum, 4);
  } catch (const Error&) {
  }
}

void read_everything(const ModelFile& file) {
  for (const MetadataEntry& e : file.metadata()) {
    (void)e.describe_type();
    if (e.type == ValueType::string) (void)e.as_strings();
  }
  std::vector<float> row;
  for (const TensorView& t : file.tensors()) {
    if (t.format->kind == FormatKind::vector) continue;
    row.resize(t.columns);
    const MatrixView matrix{t.data, t.format, t.rows, t.columns, panel_layout(*t.format, t.columns)};
    unpack_row(matrix, 0, row.data());
    unpack_row(matrix, t.rows - 1, row.data());
  }
  try {
    file.verify();
  } catch (const Error&) {  // its weights may be anything
  }
}

void tokenize(const ModelFile& file) {
  try {
    const auto bpe = std::make_shared<const Bpe>(Bpe::read(file));
    std::vector<uint32_t> ids;
    for (uint64_t id = 0; id <= std::min(bpe->size(), 1000u); ++id) bpe->encode(bpe->token_bytes(id), ids);
    bpe->encode(std::string_view(reinterpret_cast<const char*>(file.bytes()), std::min<size_t>(file.nbytes(), 4096)), ids);
    AnswerText text(bpe, true, {"\n\n\n", "\xef\xbf\xbd\xef\xbf\xbd"});
    std::vector<TextPiece> pieces;
    for (int32_t token = -1; token <= static_cast<int32_t>(std::min(bpe->size(), 1000u)); ++token) text.push(token, pieces);
    for (const uint32_t id : ids) text.push(static_cast<int32_t>(id), pieces);
    text.finish(pieces);
    AnswerText calls(bpe, true, {"\n\n\n"}, std::make_shared<const Tools>());
    for (const uint32_t id : ids) calls.push(static_cast<int32_t>(id), pieces);
    calls.finish(pieces);
  } catch (const Error&) {
  }
}

// A prompt and two tokens.
void generate(const std::shared_ptr<const ModelFile>& file) {
  PlanRequest request;
  request.context = 16;
  request.threads = 1;
  request.chunk = 16;
  request.program = 1;
  Engine engine(file, request, best_isa());
  const uint32_t vocabulary = engine.config().vocab_size;
  std::vector<float> logits(vocabulary);
  Sampler sampler(vocabulary, vocabulary, {.temperature = 0.7f, .top_k = 20, .top_p = 0.8f});
  std::vector<int32_t> tokens(5), positions{0, 1, 2, 3, 4};
  for (int32_t i = 0; i < 5; ++i) tokens[i] = static_cast<int32_t>(i * 7u % vocabulary);
  for (int step = 0; step < 3; ++step) {
    const std::vector<int32_t> slots(tokens.size());
    std::vector<uint8_t> want(tokens.size());
    want.back() = 1;
    engine.forward({tokens.data(), positions.data(), slots.data(), want.data(), tokens.size()}, logits.data());
    const int32_t token = sampler.sample(logits.data());
    sampler.accept(token, true);
    positions = {positions.back() + 1};
    tokens = {token};
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const int fd = memfd_create("fuzz", 0);
  static const std::string path = "/proc/self/fd/" + std::to_string(fd);
  std::vector<uint8_t> bytes(data, data + size);
  mend_checksum(bytes);
  if (ftruncate(fd, 0) != 0 || pwrite(fd, bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) return -1;
  try {
    const auto file = std::make_shared<const ModelFile>(path);
    read_everything(*file);
    tokenize(*file);
    generate(file);
  } catch (const Error&) {
  }
  return 0;
}
