#include "models/dense.h"

namespace q3e {

Dense::Dense(const ModelConfig& c) : width_(c.ffn_size) {
  const auto alternating = [](TensorSpec spec) {
    spec.alternating = true;
    return spec;
  };
  norm_ = add(vector("ffn_norm", c.hidden_size));
  gate_ = add(alternating(matrix("ffn_gate", width_, c.hidden_size, 0)));
  up_ = add(alternating(matrix("ffn_up", width_, c.hidden_size, 0)));
  down_ = add(matrix("ffn_down", c.hidden_size, width_, 1));
}

// x += down(silu(gate(n)) * up(n)) with n = norm(x)
bool Dense::step(const Steps& steps, const BlockPlace& at) const {
  const Tensor* t = at.tensors;
  auto* hidden = steps.scratch<float>(0);  // [T][width]

  const Rows n = steps.norm(t[norm_], {&t[gate_], &t[up_]});
  steps.gate_up(n, t[gate_], t[up_], hidden);
  const Rows rounded = steps.round(hidden, t[down_]);
  steps.project(rounded, {{t[down_], steps.x(), steps.pass.sizes.hidden}}, Epilogue::add);
  return true;
}

}  // namespace q3e
