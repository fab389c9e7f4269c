// A gated delta net (Yang et al. 2024) behind a causal convolution, as in Qwen3.5: each value head has a state S
// [key size][value size] that a token decays, corrects and reads, so that a sequence of any length costs the same memory.
#pragma once

#include "models/block.h"
#include "models/delta_state.h"

namespace q3e {

class DeltaNet : public Block {
 public:
  explicit DeltaNet(const ModelConfig& config);

  const char* kind() const override { return "delta_net"; }
  StateSpec state(KvType) const override { return shape_.spec(); }
  void settle(const KernelTable& kernels, const SequenceStates& states, const StateSpec& before,
              uint32_t sequence) const override;
  size_t scratch_bytes(const ScratchRequest& request) const override { return scratch(request.tokens).bytes; }
  bool step(const Steps& steps, const BlockPlace& at) const override;

 private:
  DeltaShape shape_;
  uint32_t gate_stride() const { return (shape_.value_heads + kPanelRows - 1) / kPanelRows * kPanelRows; }

  struct Scratch {
    size_t inputs, mixed;  // float32 [T][channels]: of the convolution, and what it makes of them; values become outputs
    size_t gate;           // float32 [T][values], becomes what the last matrix reads
    size_t decay, write;   // float32 [T][gate_stride]
    size_t bytes;
  };
  Scratch scratch(uint32_t tokens) const;
  class Step;  // one thread's, of one chunk

  uint32_t norm_, qkv_, gate_, alpha_, beta_, taps_, rate_, bias_, head_norm_, out_;
};

}  // namespace q3e
