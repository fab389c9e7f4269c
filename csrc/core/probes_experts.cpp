#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <vector>

#include "base/error.h"
#include "core/probes.h"

namespace q3e {
namespace {

using Clock = std::chrono::steady_clock;

double since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

}  // namespace

ExpertReplay replay_experts(const std::shared_ptr<const ModelFile>& file, const ModelConfig& config, uint32_t slots,
                            std::span<const uint32_t> trace, size_t warm) {
  const size_t token = size_t{config.layers} * config.experts_per_token;
  if (!config.is_moe()) throw Error(Status::bad_argument, "replay: expected a mixture of experts, found a dense model");
  if (slots < ExpertSlotLayout::least(config))
    throw Error(Status::bad_argument, "slots: expected at least " + std::to_string(ExpertSlotLayout::least(config)) + ", found " +
                                          std::to_string(slots));
  if (trace.size() % token != 0 || warm > trace.size() / token)
    throw Error(Status::bad_argument, "trace: expected [tokens, layers, experts a token] and fewer tokens to begin with");
  for (const uint32_t e : trace)
    if (e >= config.experts)
      throw Error(Status::bad_argument,
                  "trace: expected experts below " + std::to_string(config.experts) + ", found " + std::to_string(e));
  const Weights weights(*file, config);
  ExpertSlots source(file, config, weights, slots);
  std::vector<uint32_t> chosen;
  ExpertMetrics before;
  auto begin = Clock::now();
  for (size_t t = 0; t < trace.size() / token; ++t) {
    if (t == warm) {
      before = source.metrics();
      begin = Clock::now();
    }
    for (uint32_t layer = 0; layer < config.layers; ++layer) {
      const auto own = trace.subspan(t * token + size_t{layer} * config.experts_per_token, config.experts_per_token);
      chosen.assign(own.begin(), own.end());
      for (std::span<uint32_t> left(chosen); !left.empty();) {
        const uint32_t ready = source.begin(layer, left);
        for (uint32_t i = 0; i < ready; ++i) source.get(i);
        source.end();
        source.require_read();
        left = left.subspan(ready);
      }
    }
  }
  const double seconds = since(begin);
  const ExpertMetrics after = source.metrics();
  return {seconds,
          {after.hits - before.hits, after.misses - before.misses, after.bytes_read - before.bytes_read,
           after.wait_seconds - before.wait_seconds}};
}

double file_bandwidth(const ModelFile& file, double seconds) {
  constexpr size_t kBytes = size_t{8} << 20, kReads = 4;
  const DirectFile direct(file.path(), file.identity());
  const size_t whole = file.nbytes() / kBytes;
  if (whole < kReads) throw Error(Status::bad_argument, "file: expected at least 32 MiB, found " + std::to_string(file.nbytes()));
  void* memory = mmap(nullptr, kReads * kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw Error(Status::out_of_memory, "buffers: expected 32 MiB, found none");
  std::vector<FileRead> reads(kReads);
  int failure = 0;
  double rate = 0;
  {
    DirectReader reader(direct);
    size_t next = 0;
    const auto start = [&](size_t i) {
      reads[i].offset = next++ % whole * kBytes;
      reads[i].bytes = reads[i].needed = kBytes;
      reads[i].to = static_cast<uint8_t*>(memory) + i * kBytes;
      reader.start(reads[i]);
    };
    for (size_t i = 0; i < kReads; ++i) start(i);
    const auto begin = Clock::now();
    size_t done = 0;
    for (; since(begin) < seconds && failure == 0; ++done) {
      failure = reader.finish(reads[done % kReads]);
      start(done % kReads);
    }
    rate = static_cast<double>(done * kBytes) / since(begin);
  }
  munmap(memory, kReads * kBytes);
  if (failure != 0) throw direct.failure(failure);
  return rate;
}

}  // namespace q3e
