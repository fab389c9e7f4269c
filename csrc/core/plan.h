// What a model, a context and a batch will cost in memory, and whether that fits.
#pragma once

#include <cstdint>
#include <string>

#include "core/weights.h"
#include "ukernels/kernels.h"

namespace q3e {

struct PlanRequest {
  uint32_t context = 4096;  // positions a sequence
  uint32_t sequences = 1;
  uint32_t threads = 0;  // 0: usable_cores()
  KvType kv = KvType::int8;
  uint64_t memory = 0;   // budget; 0: default_budget()
  uint32_t chunk = 0;    // tokens of a prefill chunk; 0: the largest of 256 ... 16 that fits
  uint64_t program = 0;  // 0: what the process holds now, without this file, and an allowance
  uint64_t later = 0;    // what the program will load besides; counts only when `program` is 0
};

// Bytes. peak = program + weights + kv_cache + scratch: the resident set when the context is full.
struct MemoryPlan {
  uint64_t weights, kv_cache, scratch, program, peak, budget;
  PlanRequest settings;  // with all defaults filled in
};

const char* kv_name(KvType kv);
// Throws Error(bad_argument).
KvType parse_kv(const std::string& name);

// Reads no weight. Throws Error: bad_argument for a setting out of range, over_budget with the breakdown and the nearest
// settings that fit.
MemoryPlan make_plan(const ModelFile& file, const ModelConfig& config, const Weights& weights, const PlanRequest& request);

}  // namespace q3e
