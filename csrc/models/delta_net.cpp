#include "models/delta_net.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace q3e {

DeltaNet::DeltaNet(const ModelConfig& c) : shape_{c.delta_key_heads, c.delta_value_heads, c.delta_head_size} {
  // They decide how long a state remembers: small, and too sensitive to be rounded.
  const auto exact = [&](const char* name) {
    TensorSpec spec = matrix(name, shape_.value_heads, c.hidden_size, 0);
    spec.form = Form::float_matrix;
    return spec;
  };
  const auto suffixed = [](TensorSpec spec, const char* suffix) {
    spec.suffix = suffix;
    return spec;
  };
  norm_ = add(vector("attn_norm", c.hidden_size));
  qkv_ = add(matrix("attn_qkv", shape_.channels(), c.hidden_size, 0));
  gate_ = add(matrix("attn_gate", shape_.values(), c.hidden_size, 0));
  alpha_ = add(exact("ssm_alpha"));
  beta_ = add(exact("ssm_beta"));
  taps_ = add(vector("ssm_conv1d", kConvTaps * shape_.channels()));
  rate_ = add(suffixed(vector("ssm_a", shape_.value_heads), ""));
  bias_ = add(suffixed(vector("ssm_dt", shape_.value_heads), ".bias"));
  head_norm_ = add(vector("ssm_norm", shape_.size));
  out_ = add(matrix("ssm_out", c.hidden_size, shape_.values(), 1));
}

DeltaNet::Scratch DeltaNet::scratch(uint32_t tokens) const {
  const size_t t = tokens;
  Layout layout;
  Scratch s{};
  s.inputs = layout.take(t * shape_.channels() * 4);
  s.mixed = layout.take(t * shape_.channels() * 4);
  s.gate = layout.take(t * shape_.values() * 4);
  s.decay = layout.take(t * gate_stride() * 4);
  s.write = layout.take(t * gate_stride() * 4);
  s.bytes = layout.end();
  return s;
}

class DeltaNet::Step {
 public:
  Step(const DeltaNet& block, const Steps& steps, const BlockPlace& at)
      : b_(block),
        shape_(block.shape_),
        steps_(steps),
        at_(at),
        s_(block.scratch(steps.pass.request.tokens)),
        inputs_(steps.scratch<float>(s_.inputs)),
        mixed_(steps.scratch<float>(s_.mixed)),
        gate_(steps.scratch<float>(s_.gate)),
        decay_(steps.scratch<float>(s_.decay)),
        write_(steps.scratch<float>(s_.write)) {}

  void run();

 private:
  const Tensor& tensor(uint32_t index) const { return at_.tensors[index]; }
  DeltaState state(const Run& run) const { return {shape_, steps_.pass.states, at_.states, run.sequence, run.position}; }
  bool stays_pending(const Run& run) const { return steps_.pass.states.stay_pending(run.count); }
  const Run& run_of(uint32_t token) const {
    const std::vector<Run>& runs = steps_.pass.chunk.runs;
    return *(std::upper_bound(runs.begin(), runs.end(), token, [](uint32_t t, const Run& r) { return t < r.first; }) - 1);
  }
  void mix(uint32_t token, uint32_t key_head) const;
  void convolve(uint32_t token, const float* const* inputs, uint32_t channel) const;
  void update(const Run& run, uint32_t head, uint32_t column) const;
  void finish(uint32_t token, uint32_t head) const;

  const DeltaNet& b_;
  const DeltaShape& shape_;
  const Steps& steps_;
  const BlockPlace& at_;
  const Scratch s_;
  float *inputs_, *mixed_, *gate_, *decay_, *write_;
};

// x += out(norm(S^T q) * silu(gate(n))), n = norm(x), S the state that n changes
bool DeltaNet::step(const Steps& steps, const BlockPlace& at) const {
  Step(*this, steps, at).run();
  return true;
}

void DeltaNet::Step::run() {
  const uint32_t tokens = steps_.tokens(), heads = shape_.value_heads, parts = shape_.size / kDeltaColumns;
  const std::vector<Run>& runs = steps_.pass.chunk.runs;
  Worker& worker = steps_.worker;
  const Tensor &qkv = tensor(b_.qkv_), &gate = tensor(b_.gate_), &alpha = tensor(b_.alpha_), &beta = tensor(b_.beta_);
  const Rows n = steps_.norm(tensor(b_.norm_), {&qkv, &gate, &alpha});
  steps_.project(n, {{qkv, inputs_, shape_.channels()},
                     {gate, gate_, shape_.values()},
                     {alpha, decay_, b_.gate_stride()},
                     {beta, write_, b_.gate_stride()}});
  const uint32_t mixes = shape_.key_heads + 1;  // behind a token's heads, what it does to all states
  worker.for_each(tokens * mixes, [&](uint32_t item) { mix(item / mixes, item % mixes); });
  worker.for_each(static_cast<uint32_t>(runs.size()) * heads * parts, [&](uint32_t item) {
    const uint32_t part = item % parts, head = item / parts % heads;
    const Run& run = runs[item / parts / heads];
    update(run, head, part * kDeltaColumns);
    if (part > 0) return;
    state(run).settle_inputs(head);
    if (!stays_pending(run)) state(run).take_inputs(head, inputs_ + size_t{run.first} * shape_.channels(), run.count);
  });
  worker.for_each(tokens * heads, [&](uint32_t item) { finish(item / heads, item % heads); });
  const Rows rounded = steps_.round(gate_, tensor(b_.out_));
  steps_.project(rounded, {{tensor(b_.out_), steps_.x(), steps_.pass.sizes.hidden}}, Epilogue::add);
}

// Query and key of a key head, and the values that go with it.
void DeltaNet::Step::mix(uint32_t token, uint32_t key_head) const {
  if (key_head == shape_.key_heads) {
    const size_t at = size_t{token} * b_.gate_stride();
    return steps_.kernels().delta_gates(tensor(b_.rate_).vector, tensor(b_.bias_).vector, shape_.value_heads, decay_ + at,
                                        write_ + at);
  }
  const Run& run = run_of(token);
  const DeltaState before = state(run);
  const float* inputs[kConvTaps];
  for (uint32_t tap = 0; tap < kConvTaps; ++tap) {
    const uint32_t at = token - run.first + tap;  // of the run, kInputs behind
    inputs[tap] = at >= DeltaShape::kInputs ? inputs_ + size_t{run.first + at - DeltaShape::kInputs} * shape_.channels()
                                            : before.input_before(DeltaShape::kInputs - at);
  }
  const uint32_t q = key_head * shape_.size, k = shape_.keys() + q;
  convolve(token, inputs, q);
  convolve(token, inputs, k);
  for (uint32_t head = key_head; head < shape_.value_heads; head += shape_.key_heads)
    convolve(token, inputs, 2 * shape_.keys() + head * shape_.size);
  float* own = mixed_ + size_t{token} * shape_.channels();
  steps_.kernels().unit(own + q, 1.0f / std::sqrt(static_cast<float>(shape_.size)), shape_.size);
  steps_.kernels().unit(own + k, 1.0f, shape_.size);
}

// The channels of a head.
void DeltaNet::Step::convolve(uint32_t token, const float* const* inputs, uint32_t channel) const {
  const float* own[kConvTaps];
  for (uint32_t tap = 0; tap < kConvTaps; ++tap) own[tap] = inputs[tap] + channel;
  steps_.kernels().conv_silu(own, tensor(b_.taps_).vector + channel, shape_.channels(), shape_.size,
                             mixed_ + size_t{token} * shape_.channels() + channel);
}

// All tokens of a run, one after the other, on some columns of a head's state. Those that may be taken back change a copy.
void DeltaNet::Step::update(const Run& run, uint32_t head, uint32_t column) const {
  alignas(64) float copy[kDeltaColumns * ModelLimits::head_size];
  const DeltaState own = state(run);
  float* first = mixed_ + size_t{run.first} * shape_.channels();
  const size_t gates = size_t{run.first} * b_.gate_stride() + head;
  DeltaTask task{};
  task.state = own.settled(steps_.kernels(), head, column);
  task.q = first + head % shape_.key_heads * shape_.size;
  task.k = task.q + shape_.keys();
  task.v = first + 2 * shape_.keys() + head * shape_.size + column;
  task.stride = shape_.channels();
  task.decay = decay_ + gates;
  task.write = write_ + gates;
  task.gate_stride = b_.gate_stride();
  task.tokens = run.count;
  task.key_size = shape_.size;
  task.columns = kDeltaColumns;
  if (stays_pending(run)) {
    for (uint32_t i = 0; i < run.count; ++i)
      std::memcpy(own.pending(i).v + head * shape_.size + column, task.v + i * task.stride, kDeltaColumns * sizeof(float));
    std::memcpy(copy, task.state, size_t{kDeltaColumns} * shape_.size * sizeof(float));
    task.state = copy;
  }
  steps_.kernels().delta_rule(task);
}

// What the last matrix reads of a token's head, and what is kept of a token that may be taken back.
void DeltaNet::Step::finish(uint32_t token, uint32_t head) const {
  const uint32_t size = shape_.size;
  const size_t row = size_t{token} * shape_.channels();
  float* own = gate_ + size_t{token} * shape_.values() + head * size;
  steps_.kernels().gated_norm(mixed_ + row + 2 * shape_.keys() + head * size, tensor(b_.head_norm_).vector, own, size,
                              steps_.pass.sizes.epsilon, own);
  const Run& run = run_of(token);
  if (!stays_pending(run)) return;
  const DeltaState::Pending kept = state(run).pending(token - run.first);
  kept.decay[head] = decay_[size_t{token} * b_.gate_stride() + head];
  kept.write[head] = write_[size_t{token} * b_.gate_stride() + head];
  DeltaState::for_each_part(
      shape_, head, [&](uint32_t first) { std::memcpy(kept.inputs + first, inputs_ + row + first, size * sizeof(float)); });
  if (head < shape_.key_heads)
    std::memcpy(kept.k + head * size, mixed_ + row + shape_.keys() + head * size, size * sizeof(float));
}

void DeltaNet::settle(const KernelTable& kernels, const SequenceStates& states, const StateSpec& before,
                      uint32_t sequence) const {
  const DeltaState own(shape_, states, before, sequence, states.length(sequence));
  for (uint32_t head = 0; head < shape_.value_heads; ++head) {
    for (uint32_t column = 0; column < shape_.size; column += kDeltaColumns) own.settled(kernels, head, column);
    own.settle_inputs(head);
  }
}

}  // namespace q3e
