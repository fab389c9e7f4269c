// What a model is made of: an ordered list of blocks, each x += f(norm(x)).
//
// A block holds no weights and no buffers. It states its tensors, its scratch and its state for a sequence, and it has a step
// that reads like the paper. Engine, plan and weight store go through the list and know no block by name.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "exec/steps.h"
#include "models/config.h"

namespace q3e {

// Where a block stands in the model at work.
struct BlockPlace {
  const Tensor* tensors;  // in the order of Block::tensors
  const Tensor* next;     // of the next block of its kind; null behind the last, and where they cannot be read yet
  StateSpec states;       // of the blocks in front: where its own begin
  uint32_t pool = 0;      // of experts, where it has one
};

class Block {
 public:
  virtual ~Block() = default;

  virtual const char* kind() const = 0;  // as its files are called
  // Valid as long as the block.
  std::span<const TensorSpec> tensors() const { return tensors_; }
  virtual StateSpec state(KvType) const { return {}; }
  // Its part of a page: rows from `first` on become zeros.
  virtual void clear_rows(KvType, uint32_t /*first*/, uint8_t* /*page*/) const {}
  // Puts a sequence's pending tokens into its fixed state (SequenceStates); `states`: of the blocks in front.
  virtual void settle(const KernelTable&, const SequenceStates&, const StateSpec& /*states*/, uint32_t /*sequence*/) const {}
  // Of the attention that it does, or null: its tokens are split before the threads start.
  virtual const AttentionShape* attention() const { return nullptr; }
  // Experts that a token takes; 0 without a pool.
  virtual uint32_t experts_per_token() const { return 0; }
  virtual size_t scratch_bytes(const ScratchRequest& request) const = 0;
  // x += f(norm(x)), called by all threads. False when weights could not be read: x is spoilt then, and the pass ends.
  virtual bool step(const Steps& steps, const BlockPlace& at) const = 0;

 protected:
  uint32_t add(const TensorSpec& spec) {
    tensors_.push_back(spec);
    return static_cast<uint32_t>(tensors_.size() - 1);
  }

 private:
  std::vector<TensorSpec> tensors_;
};

struct PlacedBlock {
  const Block* block;
  uint32_t layer;
};

struct Model {
  ModelConfig config;
  std::vector<std::unique_ptr<const Block>> kinds;  // that own what `blocks` point to
  std::vector<PlacedBlock> blocks;                  // layers ascend from 0
  // Outside of layers: the embedding, the norm in front of the head, the frequencies of RoPE, and a head of its own.
  std::vector<TensorSpec> outer;

  template <class B, class... Arguments>
  const Block* add_kind(Arguments&&... arguments) {
    kinds.push_back(std::make_unique<const B>(std::forward<Arguments>(arguments)...));
    return kinds.back().get();
  }
};

// Adds what every model has outside of its layers. rotated: columns of a head that RoPE turns.
void add_outer(Model& model, uint32_t rotated);

// Shorthands for what blocks state.
inline TensorSpec matrix(const char* name, uint32_t rows, uint32_t columns, uint32_t turn) {
  return {name, Form::matrix, rows, columns, Place::layer, turn};
}
inline TensorSpec vector(const char* name, uint32_t size) { return {name, Form::vector, 1, size}; }

}  // namespace q3e
