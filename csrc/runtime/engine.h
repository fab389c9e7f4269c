// The model at work: weights, states of sequences, scratch and threads, and the one call on which everything else is built.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "exec/pass.h"
#include "models/block.h"
#include "models/tensors.h"
#include "runtime/batch_engine.h"
#include "runtime/expert_slots.h"
#include "runtime/plan.h"
#include "runtime/weight_store.h"

namespace q3e {

// Since the engine was made.
struct EngineMetrics {
  uint64_t bytes_read;                            // from the file, of what is streamed
  double wait_seconds;                            // that threads stood still for these reads
  uint64_t expert_hits, expert_misses;            // experts that were asked for, by whether they were in a slot
  uint64_t expert_guesses, expert_guesses_right;  // experts that were read before anyone asked; that were asked for then
  uint64_t experts_left_out;                      // for their small share, see PlanRequest::min_expert_share
};

// A forked child may use the engine of its parent, with threads and buffers of its own, if none of the parent's threads was in a
// call at the fork; if one was, all calls throw Error(bad_argument).
class Engine : public BatchEngine {
 public:
  // Throws Error as read_model, make_plan and ThreadPool do.
  Engine(std::shared_ptr<const ModelFile> file, const PlanRequest& request, Isa isa);
  ~Engine() override;
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  const ModelFile& file() const { return *file_; }
  const ModelConfig& config() const { return model_.config; }
  const MemoryPlan& plan() const { return plan_; }
  Isa isa() const { return kernels_.isa; }

  EngineLimits limits() const override;
  // Besides what the base throws: truncated_file when the file shrank, io_error when it cannot be read, unsupported_model for
  // logits of a model that has no head. Calls are serialized.
  void forward(const Batch& batch, float* logits, float* hidden = nullptr, const CancelFlag* cancel = nullptr) override;

  // Shows the observer what every matrix multiplies in the calls of forward that follow; null: nobody looks, at no cost.
  void observe(std::shared_ptr<Observer> observer);
  std::shared_ptr<Observer> observer();

  EngineMetrics metrics();

  uint32_t length(uint32_t sequence) override;
  uint32_t truncate(uint32_t sequence, uint32_t length) override;
  uint32_t reuse(uint32_t sequence, std::span<const int32_t> tokens) override;
  void keep(uint32_t sequence, std::span<const int32_t> tokens) override;
  // In shared pages.
  uint32_t share(uint32_t from, uint32_t to, uint32_t length) override;
  // Forgets what was kept.
  void clear_prefixes();
  // Page `index` of the longest beginning of `tokens` that was kept: use(its bytes) is called, of the tokens' own rows, the
  // others are zeros. Returns how many rows those are; 0 when it is not there.
  uint32_t read_page(std::span<const int32_t> tokens, uint32_t index, const std::function<void(std::span<const uint8_t>)>& use);
  // Keeps the last page of `tokens`, which may be a part of one, as fill(its bytes) writes it; fill is not called where it is
  // there already. False when the pages before it are not, or no page is available.
  bool restore_page(std::span<const int32_t> tokens, const std::function<void(std::span<uint8_t>)>& fill);
  // The head's weights of a token, float32 [hidden_size]: its logit is their product with the state after the final norm. Throws
  // bad_argument, unsupported_model.
  std::vector<float> head_row(uint32_t token);
  size_t page_bytes() const { return states_.cache().page_bytes(); }
  uint32_t available_pages() override;
  uint32_t needed_pages(uint32_t sequence, uint32_t begin, uint32_t length) override;
  void for_each(uint32_t count, const std::function<void(uint32_t)>& f) override;

  void snapshot(uint32_t sequence, std::span<const int32_t> tokens = {}) override;
  // Of a state that is no page; 0 where there is none.
  size_t state_bytes() const { return states_.fixed_bytes(); }
  // The state of the longest beginning of `tokens` that was kept with one: use(its bytes) is called. Returns the length, 0 for
  // none.
  uint32_t read_state(std::span<const int32_t> tokens, const std::function<void(std::span<const uint8_t>)>& use);
  // Keeps the state of `tokens`, whose pages are kept, as fill(its bytes) writes it.
  void restore_state(std::span<const int32_t> tokens, const std::function<void(std::span<uint8_t>)>& fill);

  // Deletes it, unless a fork copied it in the middle of a call: then nothing of it can be relied on.
  struct Delete {
    void operator()(Engine* engine) const {
      if (!engine->busy_) delete engine;
    }
  };

 private:
  // One call at a time.
  class Call {
   public:
    explicit Call(Engine& engine);
    ~Call() { engine_.busy_ = false; }

   private:
    Engine& engine_;
    std::lock_guard<ForkMutex> lock_;
  };
  // One block of the list, with what changes from layer to layer.
  struct Step {
    const Block* block;
    uint32_t layer;
    bool enters, leaves;  // its layer
    BlockPlace place;
  };

  ScratchRequest scratch_request() const { return {plan_.settings.chunk, plan_.settings.sequences, plan_.settings.kv, &blocks_}; }
  void place_blocks();
  void order_turns();
  void check(const Batch& batch) const;
  void settle(uint32_t sequence);
  void check_sequence(uint32_t sequence) const;
  void require_head() const;
  void check_pages(const std::vector<Run>& runs) const;
  void run_chunks(const Batch& batch, float* logits, float* hidden);
  void run_chunk(const Batch& chunk, float* logits, float* hidden);
  // Nothing below allocates or throws: it runs on all threads.
  bool run_blocks(const Steps& steps);
  void embed(const Steps& steps);
  void give_hidden(const Steps& steps, float* hidden);
  void head(const Steps& steps, float* logits);
  template <class F>
  bool enter(Worker& w, bool streamed, F&& acquire);
  void leave(Worker& w, bool streamed);

  std::shared_ptr<const ModelFile> file_;
  Model model_;
  MemoryPlan plan_;
  ModelTensors mapped_;
  WeightStore store_;
  const KernelTable& kernels_;
  ActivationBlocks blocks_;
  std::unique_ptr<ExpertSource> expert_source_;  // null without pools
  ExpertSlots* expert_slots_ = nullptr;          // the same, when experts are streamed
  SequenceStates states_;
  Pass pass_;
  std::vector<Step> steps_;
  std::vector<AttentionShape> shapes_;  // each once
  ThreadPool threads_;
  ForkMutex mutex_;
  std::atomic<bool> busy_{false};               // within a call, under the mutex
  uint32_t generation_ = process_generation();  // that buffers and reads belong to
  WeightStore::HeadPart head_part_{};
  const CancelFlag* cancel_ = nullptr;
  bool ends_early_ = false;  // what all threads take the flag for in this layer
};

}  // namespace q3e
