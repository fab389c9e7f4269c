// A gated delta net (Yang et al. 2024) behind a causal convolution, as in Qwen3.5: each value head has a state S
// [key size][value size] that a token decays, corrects and reads, so that a sequence of any length costs the same memory.
#pragma once

#include "models/block.h"

namespace q3e {

class DeltaNet : public Block {
 public:
  explicit DeltaNet(const ModelConfig& config);

  const char* kind() const override { return "delta_net"; }
  StateSpec state(KvType) const override { return {0, state_bytes() + inputs_bytes()}; }
  size_t scratch_bytes(const ScratchRequest& request) const override { return scratch(request.tokens).bytes; }
  bool step(const Steps& steps, const BlockPlace& at) const override;

 private:
  // Value head j goes with key head j % key_heads.
  uint32_t key_heads_, value_heads_, size_;
  uint32_t keys() const { return key_heads_ * size_; }
  uint32_t values() const { return value_heads_ * size_; }
  uint32_t channels() const { return 2 * keys() + values(); }  // of queries, keys and values, in this order
  uint32_t gate_stride() const { return (value_heads_ + kPanelRows - 1) / kPanelRows * kPanelRows; }

  // A sequence keeps the states of its heads, each [size / 16][size][16] (DeltaTask), and the convolution's inputs of its last
  // three tokens: that of position p in row p % 3.
  static constexpr uint32_t kInputs = kConvTaps - 1;
  size_t head_floats() const { return size_t{size_} * size_; }
  size_t state_bytes() const { return value_heads_ * head_floats() * 4; }
  size_t inputs_bytes() const { return size_t{kInputs} * channels() * 4; }

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
