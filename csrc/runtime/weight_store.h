// Where a model's weights are while it runs: in the mapped file all the time, or read into buffers when their turn comes.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/memory_region.h"
#include "io/direct_reader.h"
#include "models/tensors.h"

namespace q3e {

// Part of a file.
struct ByteRange {
  uint64_t begin = 0, end = 0;
  uint64_t size() const { return end - begin; }
};

// Where the parts of a model lie in its file. Pools of experts are not in the layers' ranges: they have a store of their own.
struct WeightRanges {
  std::vector<ByteRange> layers;
  ByteRange head, embedding;  // the same when tied
  uint64_t experts = 0;       // bytes
  uint64_t others = 0;        // bytes of what is always read through the map

  explicit WeightRanges(const ModelTensors& tensors);
};

// What the plan chose to stream.
struct Residence {
  uint32_t streamed_layers = 0;  // spread evenly over the model, so that reads go on while the others compute
  bool streams_head = false;
  uint32_t expert_slots = 0;  // 0: all experts are resident

  bool any() const { return streamed_layers > 0 || streams_head || expert_slots > 0; }
  bool streams(uint32_t layer, uint32_t layers) const {
    return (layer + uint64_t{1}) * streamed_layers / layers > uint64_t{layer} * streamed_layers / layers;
  }
};

// The parts that are streamed, each as it is read: aligned, and with a buffer large enough for any of them.
struct StreamPlan {
  static constexpr uint32_t kBuffers = 2;  // one that is computed with, one that is filled
  struct Unit {
    uint64_t offset;       // of the read
    size_t bytes, needed;  // see FileRead
    uint32_t layer;        // or the number of layers: rows of the head
    uint32_t first_panel, panels;
  };
  std::vector<Unit> units;  // in the order of a pass
  size_t buffer_bytes = 0;  // of one
  uint64_t streamed = 0;    // bytes that a pass with logits reads

  StreamPlan(const WeightRanges& ranges, const MatrixView& head, const Residence& residence);
  uint64_t memory() const { return units.empty() ? 0 : uint64_t{kBuffers} * buffer_bytes; }
};

// One thread at a time uses it; others may read tensors() between `acquire` and `release`.
class WeightStore {
 public:
  // Both arguments outlive it. Throws Error: out_of_memory, io_error.
  WeightStore(const ModelFile& file, const ModelTensors& tensors, const Residence& residence, ReadMethod method);
  WeightStore(const WeightStore&) = delete;
  WeightStore& operator=(const WeightStore&) = delete;

  // In the order of the table, at an address that stays. A streamed layer's are there between `acquire` and `release` only; a
  // streamed head's are what acquire_head gives.
  const std::vector<Tensor>& tensors() const { return tensors_; }
  bool streams(uint32_t layer) const { return residence_.streams(layer, layers_); }
  bool streams_head() const { return residence_.streams_head; }
  // The parts that the head is computed in: one when it is resident.
  uint32_t head_parts() const { return head_parts_; }
  struct HeadPart {
    MatrixView rows;
    uint32_t first_panel;
  };

  // Whether rows of the embedding are read from the file: only a few are needed, and it may be no part of what is resident.
  bool embeds_by_row() const { return embeds_by_row_; }
  // Row `token` of the embedding as float32 [hidden]; one thread at a time, when they are read by row. Throws Error:
  // truncated_file, io_error.
  void embed(uint32_t token, float* out);

  // In a forked child, before its first pass: buffers and reads of its own. Throws as the constructor does.
  void renew();

  // A pass goes through all layers once; head: and then through the head. Reads begin here, and go on from `release`.
  void begin_pass(bool head) noexcept;
  // False when the read failed: the pass must end, and require_read tells why.
  bool acquire_layer(uint32_t layer) noexcept;
  bool acquire_head(uint32_t part, HeadPart& out) noexcept;
  void release() noexcept;  // of what was acquired last
  bool failed() const { return failure_ != 0; }
  void require_read() const;  // throws Error: truncated_file, io_error

  uint64_t bytes_read() const { return reader_ ? reader_->bytes_read() : 0; }
  double seconds_waited() const { return reader_ ? reader_->seconds_waited() : 0; }

 private:
  static constexpr uint32_t kNone = UINT32_MAX;
  bool acquire(uint32_t unit) noexcept;
  void read_ahead() noexcept;
  uint32_t following(uint32_t unit) noexcept;

  const ModelFile& file_;
  const ModelTensors& mapped_;
  Residence residence_;
  uint32_t layers_;
  std::vector<Tensor> tensors_;
  std::vector<uint32_t> layer_tensors_;  // [layers + 1] the first tensor of each layer
  StreamPlan plan_;
  bool embeds_by_row_;
  uint32_t head_parts_, streamed_layers_;
  ReadMethod method_;
  std::vector<uint8_t> panel_;         // [bytes of a panel of the embedding]
  OwnedAtHome<MemoryRegion> buffers_;  // [StreamPlan::kBuffers][buffer_bytes]
  FileRead reads_[StreamPlan::kBuffers];
  std::unique_ptr<DirectFile> direct_;
  OwnedAtHome<DirectReader> reader_;  // below what it fills: reads may be on their way when all ends

  // Units that are read or held, in order; the k-th of all that were ever begun has buffer k % kBuffers.
  uint32_t begun_[StreamPlan::kBuffers] = {}, begun_count_ = 0;
  uint64_t released_ = 0;
  uint32_t next_ = kNone, last_ = 0;  // of this pass: the unit to read next, and how many there are
  bool ahead_ = false;                // the reads belong to the next pass already
  int failure_ = 0;
};

}  // namespace q3e
