// The model at work: weights, KV cache, scratch and threads, and the one call on which everything else is built.
#pragma once

#include <atomic>
#include <initializer_list>
#include <memory>
#include <mutex>
#include <vector>

#include "exec/cancel_flag.h"
#include "exec/kv_cache.h"
#include "exec/thread_pool.h"
#include "models/experts.h"
#include "models/observer.h"
#include "models/workspace.h"
#include "runtime/expert_slots.h"
#include "runtime/plan.h"
#include "runtime/weight_store.h"

namespace q3e {

// One ragged batch: prefill chunks, decode rows and draft tokens together. All arrays are [count].
struct Batch {
  const int32_t* tokens;
  const int32_t* positions;
  const int32_t* slots;
  const uint8_t* want_logits;  // 0 or 1
  size_t count;
};

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
class Engine {
 public:
  // Throws Error as make_plan and ThreadPool do.
  Engine(std::shared_ptr<const ModelFile> file, const PlanRequest& request, Isa isa);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  const ModelConfig& config() const { return config_; }
  const MemoryPlan& plan() const { return plan_; }
  Isa isa() const { return kernels_.isa; }

  // logits: float32 [tokens that want them][vocab_size]. The tokens of a slot are consecutive, at ascending positions that
  // continue its cache or rewind into it. Throws Error: bad_argument, nothing changed; truncated_file when the file shrank and
  // io_error when it cannot be read, cancelled when the flag is set before the last layer, with these tokens taken back. Calls
  // are serialized.
  void forward(const Batch& batch, float* logits, const CancelFlag* cancel = nullptr);

  // Shows the observer what every matrix multiplies in the calls of forward that follow; null: nobody looks, at no cost.
  void observe(std::shared_ptr<Observer> observer);
  std::shared_ptr<Observer> observer();

  EngineMetrics metrics();

  uint32_t length(uint32_t slot);
  void truncate(uint32_t slot, uint32_t length);

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
  // Nothing below `run_chunk` allocates or throws: it runs on all threads.
  struct Run;            // consecutive tokens of one slot in a chunk
  struct AttentionTile;  // some of them, with the query heads of one KV head each

  void check(const Batch& batch) const;
  void check_slot(uint32_t slot) const;
  std::vector<Run> find_runs(const Batch& batch) const;
  void run_chunks(const Batch& batch, float* logits);
  void run_chunk(const Batch& chunk, float* logits);
  void prepare(const Batch& chunk);

  bool enter(Worker& w, uint32_t layer);
  bool enter_head(Worker& w, uint32_t part);
  void leave(Worker& w, bool streamed);
  void embed(Worker& w);
  void attention_block(Worker& w, uint32_t layer);
  bool feed_forward(Worker& w, uint32_t layer);
  void head(Worker& w, float* logits);

  void show(Worker& w, const char* tensor, int32_t layer, const MatrixView& reader, const float* float_input,
            uint32_t tokens) const;
  void rotate_and_store(uint32_t layer, uint32_t token, uint32_t first_kv_head, uint32_t kv_heads) const;
  void attend(Worker& w, uint32_t layer);
  void fetch_cache(const Worker& w, uint32_t layer) const;
  void gate_and_up(Worker& w, const LayerWeights& l);

  void expect(Worker& w, std::initializer_list<const MatrixView*> one_after_the_other) const;
  void expect_in_turns(Worker& w, const MatrixView& a, const MatrixView& b) const;
  void expect_layer(Worker& w, uint32_t layer) const;
  Stream share(const Worker& w, std::initializer_list<const MatrixView*> matrices, uint32_t step, size_t bytes) const;
  template <class T>
  T* at(size_t offset) const {
    return work_.at<T>(offset);
  }

  std::shared_ptr<const ModelFile> file_;
  ModelConfig config_;
  MemoryPlan plan_;
  WeightStore store_;
  const Weights& weights_;  // the store's
  const KernelTable& kernels_;
  Workspace work_;
  const ScratchLayout& layout_ = work_.layout();
  std::unique_ptr<ExpertSource> expert_source_;  // null for a dense model
  std::unique_ptr<Experts> experts_;
  ExpertSlots* expert_slots_ = nullptr;  // the same, when experts are streamed
  KvCache cache_;
  ThreadPool threads_;
  std::shared_ptr<Observer> observer_;
  ForkMutex mutex_;
  std::atomic<bool> busy_{false};               // within a call, under the mutex
  uint32_t generation_ = process_generation();  // that buffers and reads belong to

  // The chunk at work.
  Batch chunk_{};
  std::vector<uint8_t*> token_pages_;  // [tokens] the page that holds the token's own position
  std::vector<AttentionTile> tiles_;
  bool alone_ = false;            // every run is one token
  uint32_t heads_per_item_ = 1;   // KV heads of an item of attention
  std::vector<uint32_t> wanted_;  // tokens whose logits are wanted
  WeightStore::HeadPart head_part_{};
  const CancelFlag* cancel_ = nullptr;
  bool ends_early_ = false;  // what all threads take the flag for in this layer
};

}  // namespace q3e
