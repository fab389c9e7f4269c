// The kernels of a delta net and of gates, for tests and benches.
#include <algorithm>
#include <vector>

#include "bindings/bindings.h"
#include "probes/probes.h"
#include "ukernels/kernels.h"

namespace q3e::bindings {

namespace {

void require_alike(const Floats& a, const Floats& b, const char* text) {
  require(a.ndim() == 2 && b.ndim() == 2 && a.shape(0) == b.shape(0) && a.shape(1) == b.shape(1) && a.shape(1) % 16 == 0, text);
}

py::array_t<float> copied(const Floats& x) {
  py::array_t<float> out(std::vector<py::ssize_t>(x.shape(), x.shape() + x.ndim()));
  std::copy_n(x.data(), x.size(), out.mutable_data());
  return out;
}

py::array_t<float> kernel_sigmoid_mul(const std::string& isa, const Floats& gate, const Floats& x) {
  require_alike(gate, x, "gate, x: expected two of [tokens, columns], a multiple of 16");
  py::array_t<float> out = copied(x);
  for (py::ssize_t t = 0; t < x.shape(0); ++t)
    kernels_of(isa).sigmoid_mul(gate.data(t, 0), static_cast<uint32_t>(x.shape(1)), out.mutable_data(t, 0));
  return out;
}

// a: [tokens, n], b: [n], x: [tokens, width]
py::array_t<float> kernel_dot_gate(const std::string& isa, const Floats& a, const Floats& b, const Floats& x) {
  require(a.ndim() == 2 && x.ndim() == 2 && a.shape(0) == x.shape(0) && b.size() == a.shape(1) && b.size() % 16 == 0 &&
              x.shape(1) % 16 == 0,
          "a, b, x: expected [tokens, n], [n] and [tokens, width], multiples of 16");
  py::array_t<float> out = copied(x);
  for (py::ssize_t t = 0; t < x.shape(0); ++t)
    kernels_of(isa).dot_gate(a.data(t, 0), b.data(), static_cast<uint32_t>(b.size()), out.mutable_data(t, 0),
                             static_cast<uint32_t>(x.shape(1)));
  return out;
}

py::array_t<float> kernel_gated_norm(const std::string& isa, const Floats& x, const Floats& weight, const Floats& gate,
                                     float eps) {
  require_alike(x, gate, "x, gate: expected two of [rows, columns], a multiple of 16");
  require(weight.size() == x.shape(1), "weight: expected [columns]");
  py::array_t<float> out({x.shape(0), x.shape(1)});
  for (py::ssize_t t = 0; t < x.shape(0); ++t)
    kernels_of(isa).gated_norm(x.data(t, 0), weight.data(), gate.data(t, 0), static_cast<uint32_t>(x.shape(1)), eps,
                               out.mutable_data(t, 0));
  return out;
}

py::array_t<float> kernel_unit(const std::string& isa, const Floats& x, float scale) {
  require(x.ndim() == 2 && x.shape(1) % 16 == 0, "x: expected [rows, columns], a multiple of 16");
  py::array_t<float> out = copied(x);
  for (py::ssize_t t = 0; t < x.shape(0); ++t)
    kernels_of(isa).unit(out.mutable_data(t, 0), scale, static_cast<uint32_t>(x.shape(1)));
  return out;
}

// inputs: [tokens + 3, channels]; the result [tokens, channels].
py::array_t<float> kernel_conv_silu(const std::string& isa, const Floats& inputs, const Floats& taps) {
  require(inputs.ndim() == 2 && inputs.shape(0) >= kConvTaps && inputs.shape(1) % 16 == 0,
          "inputs: expected [tokens + 3, channels], a multiple of 16");
  require(taps.ndim() == 2 && taps.shape(0) == kConvTaps && taps.shape(1) == inputs.shape(1), "taps: expected [4, channels]");
  const py::ssize_t tokens = inputs.shape(0) - (kConvTaps - 1), channels = inputs.shape(1);
  py::array_t<float> out({tokens, channels});
  for (py::ssize_t t = 0; t < tokens; ++t) {
    const float* rows[kConvTaps];
    for (uint32_t tap = 0; tap < kConvTaps; ++tap) rows[tap] = inputs.data(t + tap, 0);
    kernels_of(isa).conv_silu(rows, taps.data(), static_cast<size_t>(channels), static_cast<uint32_t>(channels),
                              out.mutable_data(t, 0));
  }
  return out;
}

// All [heads]; the result: decay and write.
py::tuple kernel_delta_gates(const std::string& isa, const Floats& rate, const Floats& bias, const Floats& decay,
                             const Floats& write) {
  const py::ssize_t heads = rate.size();
  require(bias.size() == heads && decay.size() == heads && write.size() == heads, "bias, decay, write: expected [heads]");
  py::array_t<float> decays = copied(decay), writes = copied(write);
  kernels_of(isa).delta_gates(rate.data(), bias.data(), static_cast<uint32_t>(heads), decays.mutable_data(),
                              writes.mutable_data());
  return py::make_tuple(decays, writes);
}

// One head. state: [columns / 16, key_size, 16]; q, k: [tokens, key_size]; v: [tokens, columns]; decay, write: [tokens]. The
// result: outputs as v, and the state.
py::tuple kernel_delta_rule(const std::string& isa, const Floats& state, const Floats& q, const Floats& k, const Floats& v,
                            const Floats& decay, const Floats& write) {
  require(state.ndim() == 3 && state.shape(2) == 16 && v.ndim() == 2 && v.shape(1) == state.shape(0) * 16 &&
              v.shape(1) % kDeltaColumns == 0,
          "state, v: expected [columns / 16, key_size, 16] and [tokens, columns], a multiple of 32");
  require_alike(q, k, "q, k: expected two of [tokens, key_size], a multiple of 16");
  require(q.shape(0) == v.shape(0) && q.shape(1) == state.shape(1) && decay.size() == v.shape(0) && write.size() == v.shape(0) &&
              v.shape(0) >= 1,
          "q, v, decay, write: expected the same number of tokens, one at least");
  const py::ssize_t tokens = v.shape(0), keys = q.shape(1), columns = v.shape(1), stride = 2 * keys + columns;
  std::vector<float> rows(static_cast<size_t>(tokens * stride));  // as a model has them, beside each other
  for (py::ssize_t t = 0; t < tokens; ++t) {
    float* row = rows.data() + t * stride;
    std::copy_n(q.data(t, 0), keys, row);
    std::copy_n(k.data(t, 0), keys, row + keys);
    std::copy_n(v.data(t, 0), columns, row + 2 * keys);
  }
  py::array_t<float> next = copied(state), out({tokens, columns});
  kernels_of(isa).delta_rule({next.mutable_data(), rows.data(), rows.data() + keys, rows.data() + 2 * keys,
                              static_cast<size_t>(stride), decay.data(), write.data(), 1, static_cast<uint32_t>(tokens),
                              static_cast<uint32_t>(keys), static_cast<uint32_t>(columns)});
  for (py::ssize_t t = 0; t < tokens; ++t) std::copy_n(rows.data() + t * stride + 2 * keys, columns, out.mutable_data(t, 0));
  return py::make_tuple(out, next);
}

}  // namespace

void bind_delta_net(py::module_& m) {
  m.def("sigmoid_mul", &kernel_sigmoid_mul, "isa"_a, "gate"_a, "x"_a);
  m.def("dot_gate", &kernel_dot_gate, "isa"_a, "a"_a, "b"_a, "x"_a);
  m.def("gated_norm", &kernel_gated_norm, "isa"_a, "x"_a, "weight"_a, "gate"_a, "eps"_a);
  m.def("unit", &kernel_unit, "isa"_a, "x"_a, "scale"_a = 1.0f);
  m.def("conv_silu", &kernel_conv_silu, "isa"_a, "inputs"_a, "taps"_a);
  m.def("delta_gates", &kernel_delta_gates, "isa"_a, "rate"_a, "bias"_a, "decay"_a, "write"_a);
  m.def("delta_rule", &kernel_delta_rule, "isa"_a, "state"_a, "q"_a, "k"_a, "v"_a, "decay"_a, "write"_a);
  m.def(
      "time_delta_rule",
      [](const std::string& isa, uint32_t key_heads, uint32_t heads, uint32_t size, uint32_t tokens, uint32_t layers, int threads,
         double seconds) {
        require(key_heads >= 1 && heads % key_heads == 0 && size >= kDeltaColumns && size % kDeltaColumns == 0,
                "heads: expected a multiple of key_heads, size: a multiple of 32");
        require(threads >= 1 && threads <= 256 && tokens >= 1 && layers >= 1,
                "threads: expected 1 to 256, tokens, layers: at least 1");
        return time_delta_rule(parse_isa(isa), key_heads, heads, size, tokens, layers, threads, seconds);
      },
      "isa"_a, "key_heads"_a, "heads"_a, "size"_a, "tokens"_a, "layers"_a, "threads"_a, "seconds"_a = 0.5, GilReleased());
}

}  // namespace q3e::bindings
