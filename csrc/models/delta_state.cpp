#include "models/delta_state.h"

#include <algorithm>
#include <cstring>

namespace q3e {

DeltaState::Pending DeltaState::pending(uint32_t index) const {
  float* row = reinterpret_cast<float*>(states_.pending_row(sequence_, before_, s_.pending_floats() * 4, index));
  Pending p{row, row + s_.channels(), nullptr, nullptr, nullptr};
  p.v = p.k + s_.keys();
  p.decay = p.v + s_.values();
  p.write = p.decay + s_.value_heads;
  return p;
}

const float* DeltaState::input_before(uint32_t back) const {
  return back <= pending_ ? pending(pending_ - back).inputs : inputs_of(first_ + DeltaShape::kInputs - back);
}

float* DeltaState::settled(const KernelTable& kernels, uint32_t head, uint32_t column) const {
  float* state = heads_ + head * s_.head_floats() + size_t{column} * s_.size;
  if (pending_ == 0) return state;
  const Pending first = pending(0);
  DeltaTask task{};
  task.state = state;
  task.q = task.k = first.k + head % s_.key_heads * s_.size;  // nobody reads what comes out
  task.v = first.v + head * s_.size + column;
  task.decay = first.decay + head;
  task.write = first.write + head;
  task.stride = task.gate_stride = s_.pending_floats();
  task.tokens = pending_;
  task.key_size = s_.size;
  task.columns = kDeltaColumns;
  kernels.delta_rule(task);
  return state;
}

void DeltaState::settle_inputs(uint32_t head) const {
  for (uint32_t i = pending_ - std::min(pending_, DeltaShape::kInputs); i < pending_; ++i)
    keep_inputs(head, first_ - pending_ + i, pending(i).inputs);
}

void DeltaState::take_inputs(uint32_t head, const float* inputs, uint32_t count) const {
  for (uint32_t i = count - std::min(count, DeltaShape::kInputs); i < count; ++i)
    keep_inputs(head, first_ + i, inputs + size_t{i} * s_.channels());
}

void DeltaState::keep_inputs(uint32_t head, uint32_t position, const float* inputs) const {
  for_each_part(s_, head,
                [&](uint32_t first) { std::memcpy(inputs_of(position) + first, inputs + first, s_.size * sizeof(float)); });
}

}  // namespace q3e
