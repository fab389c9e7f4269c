// The gated delta rule, for any tier's vocabulary S.
#pragma once

#include <cstring>

#include "ukernels/kernels.h"
#include "ukernels/math_simd.h"

namespace q3e {
namespace {

// So many heads of a model that need not fill a vector.
template <class S>
void delta_gates_simd(const float* rate, const float* bias, uint32_t n, float* decay, float* write) {
  for (uint32_t i = 0; i < n; i += 16) {
    float part[4][16] = {};
    const size_t bytes = (n - i < 16 ? n - i : 16) * sizeof(float);
    std::memcpy(part[0], rate + i, bytes);
    std::memcpy(part[1], bias + i, bytes);
    std::memcpy(part[2], decay + i, bytes);
    std::memcpy(part[3], write + i, bytes);
    const typename S::F pace = softplus_simd<S>(S::add(S::load(part[2]), S::load(part[1])));
    S::store(part[2], exp_simd<S>(S::mul(S::load(part[0]), pace)));
    S::store(part[3], sigmoid_simd<S>(S::load(part[3])));
    std::memcpy(decay + i, part[2], bytes);
    std::memcpy(write + i, part[3], bytes);
  }
}

// 16 * V columns. A pass over the state writes what a token changes and reads what the next one asks for, so that each token
// costs one pass; the block of columns stays in L1 meanwhile. Sums of a column run over keys in one chain: V decides how many run
// side by side, and no bit.
template <class S, int V>
void delta_columns_simd(const DeltaTask& t, float* state, float* values) {
  using F = typename S::F;
  const size_t block = size_t{t.key_size} * 16;
  const float *k = t.k, *q = t.q, *decays = t.decay, *writes = t.write;
  F known[V], found[V], change[V];
  for (int v = 0; v < V; ++v) known[v] = found[v] = S::zero();
  for (uint32_t i = 0; i < t.key_size; ++i) {
    const F ki = S::set1(k[i]), qi = S::set1(q[i]);
    for (int v = 0; v < V; ++v) {
      const F s = S::load(state + v * block + i * 16);
      known[v] = S::fma(s, ki, known[v]);
      found[v] = S::fma(s, qi, found[v]);
    }
  }
  for (uint32_t token = 0; token < t.tokens; ++token, values += t.stride, decays += t.gate_stride, writes += t.gate_stride) {
    const F decay = S::set1(*decays), write = S::set1(*writes), both = S::set1(dot_simd<S>(k, q, t.key_size));
    for (int v = 0; v < V; ++v) {
      change[v] = S::mul(S::fnma(decay, known[v], S::load(values + v * 16)), write);
      S::store(values + v * 16, S::fma(both, change[v], S::mul(decay, found[v])));
    }
    const float *next_k = k + t.stride, *next_q = q + t.stride;
    if (token + 1 == t.tokens) {
      for (uint32_t i = 0; i < t.key_size; ++i) {
        const F ki = S::set1(k[i]);
        for (int v = 0; v < V; ++v) {
          float* s = state + v * block + i * 16;
          S::store(s, S::fma(ki, change[v], S::mul(S::load(s), decay)));
        }
      }
      return;
    }
    for (int v = 0; v < V; ++v) known[v] = found[v] = S::zero();
    for (uint32_t i = 0; i < t.key_size; ++i) {
      const F ki = S::set1(k[i]), nk = S::set1(next_k[i]), nq = S::set1(next_q[i]);
      for (int v = 0; v < V; ++v) {
        float* at = state + v * block + i * 16;
        const F s = S::fma(ki, change[v], S::mul(S::load(at), decay));
        S::store(at, s);
        known[v] = S::fma(s, nk, known[v]);
        found[v] = S::fma(s, nq, found[v]);
      }
    }
    k = next_k;
    q = next_q;
  }
}

template <class S>
void delta_rule_simd(const DeltaTask& t) {
  for (uint32_t c = 0; c < t.columns; c += 16 * S::kDeltaVectors)
    delta_columns_simd<S, S::kDeltaVectors>(t, t.state + size_t{c} * t.key_size, t.v + c);
}

}  // namespace
}  // namespace q3e
