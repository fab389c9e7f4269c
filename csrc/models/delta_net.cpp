#include "models/delta_net.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace q3e {

DeltaNet::DeltaNet(const ModelConfig& c)
    : key_heads_(c.delta_key_heads), value_heads_(c.delta_value_heads), size_(c.delta_head_size) {
  // They decide how long a state remembers: small, and too sensitive to be rounded.
  const auto exact = [&](const char* name) {
    TensorSpec spec = matrix(name, value_heads_, c.hidden_size, 0);
    spec.form = Form::float_matrix;
    return spec;
  };
  const auto suffixed = [](TensorSpec spec, const char* suffix) {
    spec.suffix = suffix;
    return spec;
  };
  norm_ = add(vector("attn_norm", c.hidden_size));
  qkv_ = add(matrix("attn_qkv", channels(), c.hidden_size, 0));
  gate_ = add(matrix("attn_gate", values(), c.hidden_size, 0));
  alpha_ = add(exact("ssm_alpha"));
  beta_ = add(exact("ssm_beta"));
  taps_ = add(vector("ssm_conv1d", kConvTaps * channels()));
  rate_ = add(suffixed(vector("ssm_a", value_heads_), ""));
  bias_ = add(suffixed(vector("ssm_dt", value_heads_), ".bias"));
  head_norm_ = add(vector("ssm_norm", size_));
  out_ = add(matrix("ssm_out", c.hidden_size, values(), 1));
}

DeltaNet::Scratch DeltaNet::scratch(uint32_t tokens) const {
  const size_t t = tokens;
  Layout layout;
  Scratch s{};
  s.inputs = layout.take(t * channels() * 4);
  s.mixed = layout.take(t * channels() * 4);
  s.gate = layout.take(t * values() * 4);
  s.decay = layout.take(t * gate_stride() * 4);
  s.write = layout.take(t * gate_stride() * 4);
  s.bytes = layout.end();
  return s;
}

class DeltaNet::Step {
 public:
  Step(const DeltaNet& block, const Steps& steps, const BlockPlace& at)
      : b_(block),
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
  uint8_t* state(const Run& run) const { return steps_.pass.states.fixed(run.sequence) + at_.states.fixed_bytes; }
  float* kept_inputs(const Run& run, uint32_t position) const {
    return reinterpret_cast<float*>(state(run) + b_.state_bytes()) + size_t{position % kInputs} * b_.channels();
  }
  const Run& run_of(uint32_t token) const {
    const std::vector<Run>& runs = steps_.pass.chunk.runs;
    return *(std::upper_bound(runs.begin(), runs.end(), token, [](uint32_t t, const Run& r) { return t < r.first; }) - 1);
  }
  void mix(uint32_t token, uint32_t key_head) const;
  void convolve(uint32_t token, const float* const* inputs, uint32_t channel) const;
  void update(const Run& run, uint32_t head, uint32_t column) const;
  void keep_inputs(const Run& run, uint32_t head) const;

  const DeltaNet& b_;
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
  const uint32_t tokens = steps_.tokens(), channels = b_.channels(), parts = b_.size_ / kDeltaColumns;
  const std::vector<Run>& runs = steps_.pass.chunk.runs;
  Worker& worker = steps_.worker;
  const Tensor &qkv = tensor(b_.qkv_), &gate = tensor(b_.gate_), &alpha = tensor(b_.alpha_), &beta = tensor(b_.beta_);
  const Rows n = steps_.norm(tensor(b_.norm_), {&qkv, &gate, &alpha});
  steps_.project(n, {{qkv, inputs_, channels},
                     {gate, gate_, b_.values()},
                     {alpha, decay_, b_.gate_stride()},
                     {beta, write_, b_.gate_stride()}});
  const uint32_t heads = b_.key_heads_ + 1;  // behind a token's heads, what it does to all states
  worker.for_each(tokens * heads, [&](uint32_t item) { mix(item / heads, item % heads); });
  worker.for_each(static_cast<uint32_t>(runs.size()) * b_.value_heads_ * parts, [&](uint32_t item) {
    const Run& run = runs[item / parts / b_.value_heads_];
    const uint32_t head = item / parts % b_.value_heads_, part = item % parts;
    update(run, head, part * kDeltaColumns);
    if (part == 0) keep_inputs(run, head);
  });
  worker.for_each(tokens * b_.value_heads_, [&](uint32_t item) {
    const uint32_t token = item / b_.value_heads_, head = item % b_.value_heads_;
    float* own = gate_ + size_t{token} * b_.values() + head * b_.size_;
    steps_.kernels().gated_norm(mixed_ + size_t{token} * channels + 2 * b_.keys() + head * b_.size_, tensor(b_.head_norm_).vector,
                                own, b_.size_, steps_.pass.sizes.epsilon, own);
  });
  const Rows rounded = steps_.round(gate_, tensor(b_.out_));
  steps_.project(rounded, {{tensor(b_.out_), steps_.x(), steps_.pass.sizes.hidden}}, Epilogue::add);
}

// Query and key of a key head, and the values that go with it.
void DeltaNet::Step::mix(uint32_t token, uint32_t key_head) const {
  if (key_head == b_.key_heads_) {
    const size_t at = size_t{token} * b_.gate_stride();
    return steps_.kernels().delta_gates(tensor(b_.rate_).vector, tensor(b_.bias_).vector, b_.value_heads_, decay_ + at,
                                        write_ + at);
  }
  const Run& run = run_of(token);
  const uint32_t index = token - run.first, position = run.position + index;
  const float* inputs[kConvTaps];
  for (uint32_t tap = 0; tap < kConvTaps; ++tap)
    inputs[tap] = index + tap >= kInputs ? inputs_ + size_t{token + tap - kInputs} * b_.channels()
                                         : kept_inputs(run, position + tap);  // of position + tap - 3
  const uint32_t q = key_head * b_.size_, k = b_.keys() + q;
  convolve(token, inputs, q);
  convolve(token, inputs, k);
  for (uint32_t head = key_head; head < b_.value_heads_; head += b_.key_heads_)
    convolve(token, inputs, 2 * b_.keys() + head * b_.size_);
  float* own = mixed_ + size_t{token} * b_.channels();
  steps_.kernels().unit(own + q, 1.0f / std::sqrt(static_cast<float>(b_.size_)), b_.size_);
  steps_.kernels().unit(own + k, 1.0f, b_.size_);
}

// The channels of a head.
void DeltaNet::Step::convolve(uint32_t token, const float* const* inputs, uint32_t channel) const {
  const float* own[kConvTaps];
  for (uint32_t tap = 0; tap < kConvTaps; ++tap) own[tap] = inputs[tap] + channel;
  steps_.kernels().conv_silu(own, tensor(b_.taps_).vector + channel, b_.channels(), b_.size_,
                             mixed_ + size_t{token} * b_.channels() + channel);
}

// All tokens of a run, one after the other, on some columns of a head's state.
void DeltaNet::Step::update(const Run& run, uint32_t head, uint32_t column) const {
  float* first = mixed_ + size_t{run.first} * b_.channels();
  const size_t gates = size_t{run.first} * b_.gate_stride() + head;
  DeltaTask task{};
  task.state = reinterpret_cast<float*>(state(run)) + head * b_.head_floats() + size_t{column} * b_.size_;
  task.q = first + head % b_.key_heads_ * b_.size_;
  task.k = task.q + b_.keys();
  task.v = first + 2 * b_.keys() + head * b_.size_ + column;
  task.stride = b_.channels();
  task.decay = decay_ + gates;
  task.write = write_ + gates;
  task.gate_stride = b_.gate_stride();
  task.tokens = run.count;
  task.key_size = b_.size_;
  task.columns = kDeltaColumns;
  steps_.kernels().delta_rule(task);
}

// What the next tokens' convolution needs of a run's last ones: a head's values, and the query and the key of its number.
void DeltaNet::Step::keep_inputs(const Run& run, uint32_t head) const {
  const uint32_t first[] = {2 * b_.keys() + head * b_.size_, head * b_.size_, b_.keys() + head * b_.size_};
  const uint32_t parts = head < b_.key_heads_ ? 3 : 1;
  for (uint32_t i = run.count - std::min(run.count, kInputs); i < run.count; ++i)
    for (uint32_t part = 0; part < parts; ++part)
      std::memcpy(kept_inputs(run, run.position + i) + first[part], inputs_ + size_t{run.first + i} * b_.channels() + first[part],
                  size_t{b_.size_} * 4);
}

}  // namespace q3e
