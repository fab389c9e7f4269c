#include "runtime/plan.h"

#include <algorithm>
#include <cstdio>
#include <initializer_list>
#include <optional>
#include <vector>

#include "base/error.h"
#include "exec/sequence_states.h"
#include "runtime/expert_slots.h"
#include "runtime/process_memory.h"
#include "runtime/prompt_lookup.h"

namespace q3e {
namespace {

constexpr size_t kWays = 3;  // to fit that a refusal names
// What a program still takes after loading; docs/decisions/plan-and-peak.md has what was measured.
constexpr uint64_t kCode = 9u << 16;   // of the core that runs later: the kernels of one tier
constexpr uint64_t kOther = 1u << 17;  // code of the system's libraries, small objects
constexpr uint64_t kPosition = 16;     // a call's token, its position and sequence, twice
constexpr uint64_t kHistory = 16;      // a sequence's token as its sampler remembers it, in a list that doubles as it grows
// A token of the vocabulary: a sequence's last logits (float32) and what was seen; once the next logits and all candidates.
constexpr uint64_t kSequenceToken = 4 + 1, kToken = 4 + 8;
constexpr uint32_t kDefaultContext = 4096;
constexpr uint64_t kMostBytes = uint64_t{1} << 62;

// What the program will have taken at its peak, beside what the plan lists.
uint64_t program_bytes(const ModelFile& file, const ModelConfig& config, const PlanRequest& r) {
  const HeldMemory held = held_memory(file.bytes(), file.nbytes());
  return held.bytes + std::min(held.code_to_come, kCode) + kOther + r.threads * kThreadBytes +
         r.context * (kPosition + r.sequences * kHistory) + config.vocab_size * (kToken + r.sequences * kSequenceToken) +
         r.later +
         (r.draft_tokens ? uint64_t{r.draft_tokens} * config.vocab_size * 4 + r.sequences * PromptLookup::memory(r.context) : 0);
}

class Planner {
 public:
  Planner(const ModelFile& file, const Model& model, const PlanRequest& request)
      : model_(model), config_(model.config), tensors_(file, model), ranges_(tensors_), blocks_(tensors_.all), request_(request) {
    const ModelConfig& config = config_;
    if (request_.context == 0) request_.context = std::min(kDefaultContext, config.context_length);
    require_range<uint64_t>("context", request_.context, 1, config.context_length);
    require_range<uint64_t>("sequences", request_.sequences, 1, 1024);
    require_range<uint64_t>("draft_tokens", request_.draft_tokens, 0, 256);
    require_range<uint64_t>("threads", request_.threads, 0, 256);
    require_range<uint64_t>("chunk", request_.chunk, 0, 8192);
    require_range<uint64_t>("snapshots", request_.snapshots, 0, 64);
    require_range<uint64_t>("later", request_.later, 0, uint64_t{1} << 40);
    if (!(request_.min_expert_share >= 0 && request_.min_expert_share < 1))
      throw Error(Status::bad_argument,
                  "min_expert_share: expected 0 to below 1, found " + std::to_string(request_.min_expert_share));
    if (request_.min_expert_share > 0 && tensors_.pools.empty())
      throw Error(Status::bad_argument, "min_expert_share: expected a mixture of experts, found a dense model");
    slot_bytes_ = ExpertSlotLayout(file, tensors_.pools).bytes();
    least_slots_ = ExpertSlotLayout::least(tensors_.pools);
    if (request_.threads == 0) request_.threads = static_cast<uint32_t>(usable_cores());
    if (request_.memory == 0) request_.memory = default_budget();
    if (request_.memory == 0)
      throw Error(Status::over_budget,
                  "memory: expected /proc/meminfo or a control group to tell what the system leaves, found neither: say how "
                  "much, such as memory=600MiB");
    if (request_.program == 0) request_.program = program_bytes(file, config, request_);
  }

  MemoryPlan choose() {
    // Fewer pages rather than chunks that are slow, or weights that are read again and again.
    for (const bool large : {true, false})
      for (const bool one : {false, true}) {
        one_context_ = one;
        if (const auto p = resident(large)) return one ? with_pages(*p) : *p;
      }
    for (const bool one : {false, true}) {
      one_context_ = one;
      if (const auto p = streamed()) return *p;
    }
    throw Error(Status::over_budget, refusal());
  }

 private:
  // With what the prefix cache notes of it.
  uint64_t page_cost(KvType kv) const { return state_of(model_, kv).page_bytes + PrefixCache::bytes_for_page(kKvBlock); }

  // All but what is streamed.
  MemoryPlan plan(const PlanRequest& request, uint32_t chunk, const Residence& residence) const {
    const StateSpec state = state_of(model_, request.kv);
    const StreamPlan stream(ranges_, tensors_.head->matrix, residence);
    MemoryPlan p{};
    p.settings = request;
    p.settings.chunk =
        std::min(chunk, std::max(request.context, request.sequences + request.draft_tokens));  // a prompt, or a token of each
    p.layers = config_.layers;
    p.residence = residence;
    for (const ExpertPool& pool : tensors_.pools) p.experts += pool.experts;
    p.expert_bytes = slot_bytes_;
    p.weights = ranges_.others + (residence.expert_slots ? 0 : ranges_.experts);
    for (uint32_t l = 0; l < config_.layers; ++l)
      if (!residence.streams(l, config_.layers)) p.weights += ranges_.layers[l].size();
    if (!residence.streams_head) p.weights += ranges_.head.size();
    p.buffers = stream.memory() + residence.expert_slots * slot_bytes_;
    p.streamed = stream.streamed;
    p.pages = KvCache::pages_for(request.context) * (one_context_ ? 1 : request.sequences);
    p.kv_token_bytes = state.page_bytes / kKvBlock;
    p.kv_cache =
        p.pages * std::min<uint64_t>(page_cost(request.kv), kMostBytes / p.pages) +  // a file's shape may be beyond 64 bits
        SequenceStates::own_memory(state, request.sequences, request.context, request.snapshots, most_pending(request));
    p.scratch = scratch_of(model_, {p.settings.chunk, request.sequences, request.kv, &blocks_}, request.threads).bytes;
    p.program = request.program;
    p.peak = p.weights + p.buffers + p.kv_cache + p.scratch + p.program;
    p.budget = request.memory;
    return p;
  }

  // With as many more pages as the budget allows, up to a context for each sequence.
  MemoryPlan with_pages(MemoryPlan p) const {
    const uint64_t page = page_cost(p.settings.kv);
    const uint64_t most = uint64_t{p.pages} * p.settings.sequences - p.pages;
    const uint64_t more = std::min(most, (p.budget - p.peak) / page);
    p.pages += static_cast<uint32_t>(more);
    p.kv_cache += more * page;
    p.peak += more * page;
    return p;
  }

  // With as little streamed as the budget allows.
  std::optional<MemoryPlan> streaming(const PlanRequest& request, uint32_t chunk) const {
    std::optional<MemoryPlan> best;
    for (const bool head : {true, false}) {  // a prompt reads the head once, whatever its chunks
      uint32_t low = head ? 0 : 1, high = config_.layers + 1;
      while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        if (plan(request, chunk, {middle, head, least_slots_}).peak <= request.memory)
          high = middle;
        else
          low = middle + 1;
      }
      if (low > config_.layers) continue;
      const MemoryPlan p = plan(request, chunk, {low, head, least_slots_});
      if (!best || p.streamed < best->streamed) best = p;
    }
    return best;
  }

  // With as many slots for experts as the budget allows, all else resident.
  std::optional<MemoryPlan> with_slots(const PlanRequest& request, uint32_t chunk) const {
    if (tensors_.pools.empty()) return std::nullopt;
    const MemoryPlan p = plan(request, chunk, {0, false, least_slots_});
    const bool takes_much = p.scratch > p.budget / 16 && p.settings.chunk > 16 && !request.chunk;
    if (takes_much || p.peak > p.budget) return std::nullopt;
    return plan(request, chunk, {0, false, least_slots_ + static_cast<uint32_t>((p.budget - p.peak) / slot_bytes_)});
  }

  // Those to try, or the one that was asked for.
  std::vector<uint32_t> chunks(std::initializer_list<uint32_t> own) const {
    return request_.chunk ? std::vector<uint32_t>{request_.chunk} : std::vector<uint32_t>(own);
  }

  std::optional<MemoryPlan> resident(bool large) const {
    // 512 is no faster (docs/decisions/prefill-chunk.md), but for experts, of which each sees a part of the tokens only ...
    const auto own = !large ? chunks({64, 32, 16}) : tensors_.pools.empty() ? chunks({256, 128}) : chunks({512, 256, 128});
    for (uint32_t chunk : own)
      if (const MemoryPlan p = plan(request_, chunk, {}); p.peak <= p.budget) return p;
    return std::nullopt;
  }

  std::optional<MemoryPlan> streamed() const {
    for (uint32_t chunk : chunks({2048, 1024, 512, 256, 128, 64, 32, 16}))  // ... but each chunk reads most experts
      if (const auto p = with_slots(request_, chunk)) return p;
    for (uint32_t chunk : chunks({512, 256, 128, 64, 32, 16}))  // and all that is streamed
      if (const auto p = streaming(request_, chunk)) return p;
    return std::nullopt;
  }

  // Everything streamed.
  MemoryPlan smallest(const PlanRequest& request) const {
    const uint32_t chunk = request.chunk ? request.chunk : 16;
    const MemoryPlan resident = plan(request, chunk, {}), streamed = plan(request, chunk, {config_.layers, true, least_slots_});
    return streamed.peak < resident.peak ? streamed : resident;
  }

  bool fits(const PlanRequest& request) const { return smallest(request).peak <= request.memory; }

  // The longest context that fits with a cache of this type, 0 for none.
  uint32_t fitting_context(KvType kv) const {
    PlanRequest r = request_;
    r.kv = kv;
    uint32_t low = 0, high = request_.context;
    while (low < high) {
      r.context = low + (high - low + 1) / 2;
      if (fits(r))
        low = r.context;
      else
        high = r.context - 1;
    }
    return low == request_.context ? low : low / kKvBlock * kKvBlock;
  }

  // Settings that fit, those that cost the user least first: a cache of fewer bits, a shorter context, fewer conversations.
  std::vector<std::string> ways() const {
    std::vector<std::string> found;
    const auto bytes = [](KvType kv) { return kv_block_layout(kv, 32).bytes; };
    std::vector<KvType> smaller;
    for (KvType kv : kKvTypes)
      if (bytes(kv) < bytes(request_.kv)) smaller.push_back(kv);
    std::sort(smaller.begin(), smaller.end(), [&](KvType a, KvType b) { return bytes(a) > bytes(b); });
    for (KvType kv : smaller) {
      PlanRequest r = request_;
      r.kv = kv;
      if (!fits(r)) continue;
      found.push_back(std::string("kv=") + kv_name(kv));
      break;
    }
    if (const uint32_t context = fitting_context(request_.kv); context > 0) found.push_back("context=" + std::to_string(context));
    PlanRequest r = request_;
    while (r.sequences > 1 && !fits(r)) r.sequences = std::max(1u, r.sequences - std::max(1u, r.sequences / 16));
    if (r.sequences < request_.sequences && fits(r)) found.push_back("sequences=" + std::to_string(r.sequences));
    for (KvType kv : smaller)
      if (const uint32_t context = fitting_context(kv); context > 0 && context < request_.context)
        found.push_back("context=" + std::to_string(context) + " with kv=" + kv_name(kv));
    found.resize(std::min(found.size(), kWays - 1));
    const uint32_t chunk = request_.chunk ? request_.chunk : 16;
    const uint64_t resident = plan(request_, chunk, {}).peak, least = smallest(request_).peak;
    found.push_back("memory=" + std::to_string((least >> 20) + 1) + "MiB");
    if (least < resident) found.back() += " (" + std::to_string((resident >> 20) + 1) + "MiB to stream nothing)";
    return found;
  }

  std::string refusal() const {
    const MemoryPlan p = smallest(request_);
    std::string text = "memory: expected at most " + mebibytes(p.budget) + " MiB, found a need of " + mebibytes(p.peak) +
                       " MiB (weights " + mebibytes(p.weights + p.buffers) + (p.residence.any() ? ", all others streamed" : "") +
                       ", KV cache " + mebibytes(p.kv_cache) + " for " + std::to_string(request_.context) + " positions in " +
                       kv_name(request_.kv) + ", scratch " + mebibytes(p.scratch) + ", program " + mebibytes(p.program) +
                       "); would fit: ";
    const std::vector<std::string> all = ways();
    for (size_t i = 0; i < all.size(); ++i) text += (i ? ", or " : "") + all[i];
    return text;
  }

  const Model& model_;
  const ModelConfig& config_;
  const ModelTensors tensors_;
  WeightRanges ranges_;
  ActivationBlocks blocks_;
  PlanRequest request_;
  bool one_context_ = false;  // pages for one sequence, which may use them all, not for each
  uint64_t slot_bytes_ = 0;   // of an expert, when there are some
  uint32_t least_slots_ = 0;
};

}  // namespace

std::string mebibytes(uint64_t bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f", static_cast<double>(bytes) / (1 << 20));
  return text;
}

StateSpec state_of(const Model& model, KvType kv) {
  StateSpec all;
  for (const PlacedBlock& placed : model.blocks) all += placed.block->state(kv);
  return all;
}

ScratchLayout scratch_of(const Model& model, const ScratchRequest& request, uint32_t threads) {
  size_t most = 0;
  for (const auto& kind : model.kinds) most = std::max(most, kind->scratch_bytes(request));
  return {request, model.config.hidden_size, model.config.rotated(), most, threads};
}

const char* kv_name(KvType kv) {
  static constexpr const char* kNames[] = {"int8", "bf16", "f32", "int4"};  // by KvType
  return kNames[static_cast<size_t>(kv)];
}

KvType parse_kv(const std::string& name) {
  for (KvType kv : kKvTypes)
    if (name == kv_name(kv)) return kv;
  throw Error(Status::bad_argument, "kv: expected int8, int4, bf16 or f32, found '" + name + "'");
}

MemoryPlan make_plan(const ModelFile& file, const Model& model, const PlanRequest& request) {
  return Planner(file, model, request).choose();
}

}  // namespace q3e
