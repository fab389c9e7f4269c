#include <algorithm>
#include <cstring>
#include <list>
#include <memory>
#include <vector>

#include "base/error.h"
#include "models/tensors.h"
#include "probes/probes.h"
#include "probes/stopwatch.h"

namespace q3e {
namespace {

// Replay and disk take turns of about so long: a shared disk is not the same from one second to the next.
constexpr double kTurnSeconds = 0.1;

// Reads a file from its beginning to its end and again, in large pieces, several in flight.
class LargeReads {
 public:
  explicit LargeReads(const ModelFile& file)
      : direct_(file.path(), file.identity()),
        bytes_each_(std::min(kMostBytes, file.nbytes() / kReads / DirectFile::kAlignment * DirectFile::kAlignment)),
        reads_(kReads),
        reader_(direct_, ReadMethod::uring) {
    if (bytes_each_ == 0)
      throw Error(Status::bad_argument, "file: expected at least 16 KiB, found " + std::to_string(file.nbytes()) + " bytes");
    pieces_ = file.nbytes() / bytes_each_;
    // Large pages, as the slots have them, which makes reads twice as fast on some disks.
    memory_ = std::make_unique<MemoryRegion>(kReads * bytes_each_, "buffers", Pages::aligned_large);
    std::memset(memory_->data(), 1, kReads * bytes_each_);
  }

  // For about so long; nothing is in flight before and after. Throws Error(io_error, truncated_file).
  void run(double seconds) {
    const auto begin = Clock::now();
    size_t started = 0, finished = 0;
    int failure = 0;
    for (;;) {
      for (; started < finished + kReads && (started < kReads || since(begin) < seconds) && failure == 0; ++started)
        start(started);
      if (finished == started) break;
      if (const int code = reader_.finish(reads_[finished++ % kReads]); code != 0) failure = code;
    }
    if (failure != 0) throw direct_.failure(failure);
    bytes_ += finished * bytes_each_;
    seconds_ += since(begin);
  }
  double rate() const { return static_cast<double>(bytes_) / seconds_; }

 private:
  static constexpr size_t kMostBytes = size_t{8} << 20, kReads = 4;
  void start(size_t i) {
    FileRead& read = reads_[i % kReads];
    read.offset = next_++ % pieces_ * bytes_each_;
    read.bytes = read.needed = bytes_each_;
    read.to = memory_->data() + i % kReads * bytes_each_;
    reader_.start(read);
  }

  DirectFile direct_;
  size_t bytes_each_, pieces_ = 0, next_ = 0, bytes_ = 0;
  double seconds_ = 0;
  std::unique_ptr<MemoryRegion> memory_;  // [kReads][bytes_each_]
  std::vector<FileRead> reads_;
  DirectReader reader_;
};

// What a token of a layer asks for.
void ask(ExpertSlots& source, uint32_t layer, std::span<uint32_t> experts) {
  while (!experts.empty()) {
    const uint32_t ready = source.begin(layer, experts);
    for (uint32_t i = 0; i < ready; ++i) source.get(i);
    source.end();
    source.require_read();
    experts = experts.subspan(ready);
  }
}

// Fills all slots with what they hold after these tokens.
void fill(ExpertSlots& source, std::span<const ExpertPool> pools, uint32_t slots, std::span<const uint32_t> trace) {
  const uint32_t layers = static_cast<uint32_t>(pools.size()), experts = pools[0].experts, top = pools[0].experts_per_token;
  std::list<uint32_t> order;  // keys, what was used last at the end
  std::vector<std::list<uint32_t>::iterator> place(size_t{layers} * experts, order.end());
  for (uint32_t key = 0; key < place.size() && key < slots; ++key) place[key] = order.insert(order.end(), key);
  for (size_t at = 0; at < trace.size(); at += top) {
    const auto first_key = static_cast<uint32_t>(at / top % layers * experts);
    std::vector<uint32_t> keys;
    for (const uint32_t e : trace.subspan(at, top)) keys.push_back(first_key + e);
    const auto missing = std::stable_partition(keys.begin(), keys.end(), [&](uint32_t k) { return place[k] != order.end(); });
    for (auto key = keys.begin(); key != keys.end(); ++key) {
      if (key >= missing) {
        place[order.front()] = order.end();
        order.pop_front();
        place[*key] = order.insert(order.end(), *key);
      }
      order.splice(order.end(), order, place[*key]);
    }
  }
  std::vector<uint32_t> together;  // of one layer, read at once
  for (auto key = order.begin(); key != order.end();) {
    const uint32_t layer = *key / experts;
    together.push_back(*key % experts);
    if (++key != order.end() && *key / experts == layer && together.size() < top) continue;
    ask(source, layer, together);
    together.clear();
  }
}

}  // namespace

ExpertReplay replay_experts(const std::shared_ptr<const ModelFile>& file, const Model& model, uint32_t slots,
                            std::span<const uint32_t> trace, size_t warm, double seconds) {
  const ModelTensors tensors(*file, model);
  if (tensors.pools.empty()) throw Error(Status::bad_argument, "replay: expected a mixture of experts, found a dense model");
  const uint32_t layers = static_cast<uint32_t>(tensors.pools.size()), experts = tensors.pools[0].experts;
  const uint32_t top = tensors.pools[0].experts_per_token, least = ExpertSlotLayout::least(tensors.pools);
  const size_t token = size_t{layers} * top;
  if (slots < least)
    throw Error(Status::bad_argument, "slots: expected at least " + std::to_string(least) + ", found " + std::to_string(slots));
  if (trace.size() % token != 0 || warm >= trace.size() / token)
    throw Error(Status::bad_argument, "trace: expected [tokens, layers, experts a token] and fewer tokens to begin with");
  for (const uint32_t e : trace)
    if (e >= experts)
      throw Error(Status::bad_argument,
                  "trace: expected experts below " + std::to_string(experts) + ", found " + std::to_string(e));
  ExpertSlots source(*file, tensors.pools, slots, ReadMethod::uring);
  fill(source, tensors.pools, slots, trace.first(warm * token));
  LargeReads disk(*file);
  std::vector<uint32_t> chosen;
  const ExpertMetrics before = source.metrics();
  ExpertReplay result{};
  for (size_t at = warm * token; at < trace.size() && result.seconds < seconds;) {
    const auto begin = Clock::now();
    for (; at < trace.size() && since(begin) < kTurnSeconds; ++result.tokens)
      for (uint32_t layer = 0; layer < layers; ++layer, at += top) {
        const auto own = trace.subspan(at, top);
        chosen.assign(own.begin(), own.end());
        ask(source, layer, chosen);
      }
    result.seconds += since(begin);
    disk.run(kTurnSeconds);
  }
  const ExpertMetrics after = source.metrics();
  result.metrics = {after.hits - before.hits, after.misses - before.misses, after.bytes_read - before.bytes_read,
                    after.wait_seconds - before.wait_seconds};
  result.disk = disk.rate();
  return result;
}

double file_bandwidth(const ModelFile& file, double seconds) {
  LargeReads disk(file);
  disk.run(seconds);
  return disk.rate();
}

}  // namespace q3e
