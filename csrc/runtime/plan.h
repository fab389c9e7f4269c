// What a model, a context and a batch will cost in memory, and whether that fits.
#pragma once

#include <cstdint>
#include <string>

#include "models/block.h"
#include "runtime/weight_store.h"
#include "ukernels/kernels.h"

namespace q3e {

// Of a thread: its stack, and by how much the kernel's counts may lag behind on its core.
constexpr uint64_t kThreadBytes = 160 << 10;

struct PlanRequest {
  uint32_t context = 0;  // positions a sequence; 0: 4096, or all that the model knows
  uint32_t sequences = 1;
  uint32_t draft_tokens = 0;  // draft tokens that a step may check
  uint32_t threads = 0;       // 0: usable_cores()
  KvType kv = KvType::int8;
  uint64_t memory = 0;     // budget; 0: default_budget()
  uint32_t chunk = 0;      // tokens of a prefill chunk; 0: the largest of 256 ... 16 that fits, 512 with experts or streaming
  uint64_t program = 0;    // 0: what the process holds now, without this file, and an allowance
  uint64_t later = 0;      // what the program will load besides; counts only when `program` is 0
  uint32_t snapshots = 2;  // for each sequence and for those that left, of a state that cannot go back by itself
  // Lossy when above 0: a token's experts whose share of its weights is smaller are left out.
  float min_expert_share = 0;
  ReadMethod reader = ReadMethod::uring;  // of what is streamed: the first to try
};

// Bytes. peak = program + weights + buffers + kv_cache + scratch: the resident set when the context is full.
struct MemoryPlan {
  uint64_t weights;   // that are resident
  uint64_t buffers;   // for what is streamed
  uint64_t kv_cache;  // pages, with states of a fixed size and their snapshots
  uint64_t scratch, program, peak, budget;
  uint64_t streamed;         // that every decoded token, and every chunk of a prompt, reads from the file
  uint32_t layers, experts;  // of all layers together
  uint64_t expert_bytes;     // of a slot, when experts are streamed
  Residence residence;
  PlanRequest settings;  // with all defaults filled in

  uint64_t kv_token_bytes;  // by which a sequence grows with each token
  uint32_t pages;           // of the KV cache: a context for each sequence, or as many as fit, one context at least
};

// Tokens of a sequence that a step may take back: the one behind which drafts begin, and those.
inline uint32_t most_pending(const PlanRequest& r) { return r.draft_tokens ? r.draft_tokens + 1 : 0; }
// What sequences of a model keep, over all its blocks.
StateSpec state_of(const Model& model, KvType kv);
// How a forward pass with these settings lays out its temporary memory.
ScratchLayout scratch_of(const Model& model, const ScratchRequest& request, uint32_t threads);

const char* kv_name(KvType kv);
// Such as "335.2".
std::string mebibytes(uint64_t bytes);
// Throws Error(bad_argument).
KvType parse_kv(const std::string& name);

// Reads no weight. Throws Error: bad_argument for a setting out of range, over_budget with the breakdown and the nearest
// settings that fit.
MemoryPlan make_plan(const ModelFile& file, const Model& model, const PlanRequest& request);

}  // namespace q3e
