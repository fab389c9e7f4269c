// What a delta net keeps of a sequence.
#pragma once

#include <cstdint>

#include "exec/sequence_states.h"
#include "ukernels/kernels.h"

namespace q3e {

// Of a delta net. Value head j goes with key head j % key_heads.
struct DeltaShape {
  uint32_t key_heads, value_heads, size;

  static constexpr uint32_t kInputs = kConvTaps - 1;  // that a convolution needs of the tokens before

  uint32_t keys() const { return key_heads * size; }
  uint32_t values() const { return value_heads * size; }
  uint32_t channels() const { return 2 * keys() + values(); }  // of queries, keys and values, in this order
  size_t head_floats() const { return size_t{size} * size; }
  size_t state_bytes() const { return value_heads * head_floats() * 4; }
  // A token that may be taken back: its inputs [channels], key [keys], values [values], decay and write [value_heads].
  size_t pending_floats() const { return size_t{channels()} + keys() + values() + 2 * value_heads; }
  StateSpec spec() const { return {0, state_bytes() + size_t{kInputs} * channels() * 4, 0, pending_floats() * 4}; }
};

// A sequence keeps the states of its heads, each [size / 16][size][16] (DeltaTask), and the convolution's inputs of the last
// three tokens in them: that of position p in row p % 3. What its pending tokens change is not in them yet.
class DeltaState {
 public:
  // before: of the blocks in front. first: position of the token behind all that were read.
  DeltaState(const DeltaShape& shape, const SequenceStates& states, const StateSpec& before, uint32_t sequence, uint32_t first)
      : s_(shape),
        states_(states),
        before_(before),
        sequence_(sequence),
        first_(first),
        pending_(states.pending(sequence)),
        heads_(reinterpret_cast<float*>(states.fixed(sequence) + before.fixed_bytes)) {}

  // The convolution's input of the token so many before `first`; zeros in front of the sequence.
  const float* input_before(uint32_t back) const;
  // Columns of a head's state from `column` on, with the pending tokens in them.
  float* settled(const KernelTable& kernels, uint32_t head, uint32_t column) const;
  // The inputs of pending tokens become those of the state: the channels of a value head, and of the key head of its number.
  void settle_inputs(uint32_t head) const;
  // Likewise those of `count` tokens from `first` on, [count][channels].
  void take_inputs(uint32_t head, const float* inputs, uint32_t count) const;

  // Of a token that will be pending, the index-th.
  struct Pending {
    float *inputs, *k, *v, *decay, *write;
  };
  Pending pending(uint32_t index) const;

  // f(first channel) for the parts, each [size], of a value head and of the key head of its number.
  template <class F>
  static void for_each_part(const DeltaShape& s, uint32_t head, F&& f) {
    f(2 * s.keys() + head * s.size);
    if (head >= s.key_heads) return;
    f(head * s.size);
    f(s.keys() + head * s.size);
  }

 private:
  void keep_inputs(uint32_t head, uint32_t position, const float* inputs) const;
  float* inputs_of(uint32_t position) const {
    return heads_ + s_.value_heads * s_.head_floats() + size_t{position % DeltaShape::kInputs} * s_.channels();
  }

  const DeltaShape& s_;
  const SequenceStates& states_;
  const StateSpec& before_;
  const uint32_t sequence_, first_, pending_;
  float* const heads_;
};

}  // namespace q3e
