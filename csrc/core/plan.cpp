#include "core/plan.h"

#include <algorithm>
#include <cstdio>

#include "base/error.h"
#include "core/kv_cache.h"
#include "core/process_memory.h"
#include "core/scratch.h"

namespace q3e {
namespace {

constexpr uint32_t kChunks[] = {256, 128, 64, 32, 16};  // 512 is no faster (docs/memory.md)
// What a program still takes after loading: stacks, the allocator's slack, a row of logits and its copies.
constexpr uint64_t kAllowance = 3u << 20;

std::string mebibytes(uint64_t bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f", static_cast<double>(bytes) / (1 << 20));
  return text;
}

void require_range(const char* name, uint64_t value, uint64_t low, uint64_t high) {
  if (value < low || value > high)
    throw Error(Status::bad_argument, std::string(name) + ": expected " + std::to_string(low) + " to " + std::to_string(high) +
                                          ", found " + std::to_string(value));
}

class Planner {
 public:
  Planner(const ModelFile& file, const ModelConfig& config, const Weights& weights, const PlanRequest& request)
      : config_(config), blocks_(activation_blocks(weights)), weights_(file.nbytes()), request_(request) {
    require_range("context", request_.context, 1, config.context_length);
    require_range("sequences", request_.sequences, 1, 1024);
    require_range("threads", request_.threads, 0, 256);
    require_range("chunk", request_.chunk, 0, 8192);
    require_range("later", request_.later, 0, uint64_t{1} << 40);
    if (config.is_moe()) throw Error(Status::unsupported_model, "model type: expected a dense model, found a mixture of experts");
    if (request_.threads == 0) request_.threads = static_cast<uint32_t>(usable_cores());
    if (request_.memory == 0) request_.memory = default_budget();
    if (request_.program == 0) {
      const uint64_t held = resident_bytes(), mapped = resident_bytes_of(file.bytes(), file.nbytes());
      request_.program = held - std::min(held, mapped) + kAllowance + config.vocab_size * uint64_t{8} + request_.later;
    }
  }

  MemoryPlan plan(uint32_t context, KvType kv, uint32_t chunk) const {
    const KvShape shape{kv, config_.layers, config_.kv_heads, config_.head_size};
    MemoryPlan p{};
    p.settings = request_;
    p.settings.context = context;
    p.settings.kv = kv;
    p.settings.chunk = std::min(chunk, context * request_.sequences);
    p.weights = weights_;
    p.kv_cache = uint64_t{request_.sequences} * KvShape::pages_for(context) * shape.page_bytes();
    p.scratch = ScratchLayout(config_, blocks_, kv, p.settings.chunk, request_.threads).bytes;
    p.program = request_.program;
    p.peak = p.weights + p.kv_cache + p.scratch + p.program;
    p.budget = request_.memory;
    return p;
  }

  MemoryPlan smallest(uint32_t context, KvType kv) const {
    return plan(context, kv, request_.chunk ? request_.chunk : kChunks[std::size(kChunks) - 1]);
  }

  MemoryPlan choose() const {
    if (request_.chunk) {
      const MemoryPlan p = plan(request_.context, request_.kv, request_.chunk);
      if (p.peak <= p.budget) return p;
    } else {
      for (uint32_t chunk : kChunks)
        if (const MemoryPlan p = plan(request_.context, request_.kv, chunk); p.peak <= p.budget) return p;
    }
    throw Error(Status::over_budget, refusal());
  }

 private:
  // The longest context that fits with a cache of this type, 0 for none.
  uint32_t fitting_context(KvType kv) const {
    uint32_t low = 0, high = request_.context;
    while (low < high) {
      const uint32_t middle = low + (high - low + 1) / 2;
      if (smallest(middle, kv).peak <= request_.memory)
        low = middle;
      else
        high = middle - 1;
    }
    return low == request_.context ? low : low / kKvBlock * kKvBlock;
  }

  std::string refusal() const {
    const MemoryPlan p = smallest(request_.context, request_.kv);
    std::string text = "memory: expected at most " + mebibytes(p.budget) + " MiB, found a need of " + mebibytes(p.peak) +
                       " MiB (weights " + mebibytes(p.weights) + ", KV cache " + mebibytes(p.kv_cache) + " for " +
                       std::to_string(request_.sequences) + " x " + std::to_string(request_.context) + " positions in " +
                       kv_name(request_.kv) + ", scratch " + mebibytes(p.scratch) + ", program " + mebibytes(p.program) +
                       "); would fit: ";
    std::string fits;
    for (KvType kv : {request_.kv, KvType::bf16, KvType::int8}) {
      if (kv != request_.kv && kv_block_layout(kv, 32).bytes >= kv_block_layout(request_.kv, 32).bytes) continue;
      if (kv == request_.kv && !fits.empty()) continue;
      if (const uint32_t context = fitting_context(kv); context > 0)
        fits +=
            "context=" + std::to_string(context) + (kv == request_.kv ? "" : std::string(" with kv=") + kv_name(kv)) + ", or ";
    }
    return text + fits + "memory=" + std::to_string((p.peak >> 20) + 1) + "MiB";
  }

  const ModelConfig& config_;
  std::vector<uint32_t> blocks_;
  uint64_t weights_;
  PlanRequest request_;
};

}  // namespace

const char* kv_name(KvType kv) {
  switch (kv) {
    case KvType::int8:
      return "int8";
    case KvType::bf16:
      return "bf16";
    case KvType::f32:
      return "f32";
  }
  return "?";
}

KvType parse_kv(const std::string& name) {
  for (KvType kv : {KvType::int8, KvType::bf16, KvType::f32})
    if (name == kv_name(kv)) return kv;
  throw Error(Status::bad_argument, "kv: expected int8, bf16 or f32, found '" + name + "'");
}

MemoryPlan make_plan(const ModelFile& file, const ModelConfig& config, const Weights& weights, const PlanRequest& request) {
  return Planner(file, config, weights, request).choose();
}

}  // namespace q3e
