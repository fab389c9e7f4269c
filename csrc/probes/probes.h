// What this machine can do at most, and how long a kernel takes: the yardsticks of bench/.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>

#include "base/memory_region.h"
#include "exec/batch.h"
#include "exec/thread_pool.h"
#include "models/block.h"
#include "runtime/expert_slots.h"
#include "ukernels/kernels.h"

namespace q3e {

// Bytes per second that threads read together from memory, from a buffer far larger than the caches.
class ReadProbe {
 public:
  // Throws Error(out_of_memory), also when a thread cannot start.
  explicit ReadProbe(int threads);

  // The median of passes of about `seconds` together, with or without prefetching, whichever is more.
  double measure(double seconds);

 private:
  double pass(size_t ahead);

  const MemoryRegion buffer_;
  ThreadPool pool_;
  std::atomic<int64_t> sink_{0};
};

// Operations per second (two for a multiply-add) of the tier's int8 dot product on registers, all threads together.
double int8_peak(Isa isa, int threads, double seconds);

// Seconds of one product of a [rows, columns] matrix with `tokens` tokens, averaged over a run of about `seconds`. The matrices
// (at least `bytes` of them together) take turns, so that a large `bytes` reads from memory and a small one from cache.
double time_matmul(Isa isa, const BlockFormat& format, uint32_t rows, uint32_t columns, uint32_t tokens, int threads,
                   double seconds, uint64_t bytes);

// Seconds of one layer's attention for the last `tokens` of `context` positions, averaged over passes through all `layers` for
// about `seconds`: with many layers the cache is read from memory.
double time_attention(Isa isa, KvType type, const AttentionShape& shape, uint32_t context, uint32_t tokens, uint32_t layers,
                      int threads, double seconds);

// Seconds of QK-norm, RoPE and KV write of one token in one layer, one thread, everything in cache.
double time_qk_norm_rope(Isa isa, KvType type, const AttentionShape& shape, double seconds);

// Seconds of one layer's gated delta rule for so many tokens of a sequence, averaged over passes through all `layers` for about
// `seconds`: with many layers the states are read from memory.
double time_delta_rule(Isa isa, uint32_t key_heads, uint32_t heads, uint32_t size, uint32_t tokens, uint32_t layers, int threads,
                       double seconds);

// Routing of a text, as if it were decoded: trace [tokens][layers][experts_per_token], through so many slots; nothing is
// computed. The slots hold what the first `warm` tokens leave in them; of the others as many count as `seconds` allow. Throws
// Error: bad_argument, and as ExpertSlots does.
struct ExpertReplay {
  uint64_t tokens;  // that count
  double seconds;
  double disk;  // bytes per second of large reads, in between
  ExpertMetrics metrics;
};
ExpertReplay replay_experts(const std::shared_ptr<const ModelFile>& file, const Model& model, uint32_t slots,
                            std::span<const uint32_t> trace, size_t warm, double seconds);

// Bytes per second that large direct reads of a file get, four in flight. Throws Error: bad_argument for a file of a few pages,
// io_error.
double file_bandwidth(const ModelFile& file, double seconds);

// Seconds of one barrier.
double time_barrier(int threads, double seconds);

}  // namespace q3e
