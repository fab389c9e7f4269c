// Matrix products of packed weights, for any tier's vocabulary S (simd_<isa>.h). The 16 rows of a panel are the lanes, so no sum
// crosses lanes.
//
// Few tokens: weights are unpacked into registers and used at once. More tokens: strips_simd.h.
#pragma once

#include <array>
#include <utility>

#include "ukernels/strips_simd.h"

namespace q3e {
namespace {

// NT tokens, up to S::kDirectTokens, and NP panels. Two panels at once when tokens are many: then a token's quad is loaded
// once for both, and loads no longer bound the loop. asks: for what comes next, ahead of the machine's own prefetcher.
template <class S, FormatKind kind, int NT, int NP, bool asks = true>
void direct_panels(const MatrixView& w, const uint8_t* first, const Activations& a, float* out, size_t out_stride) {
  using U = Unpack<S, kind>;
  constexpr bool kTwoChains = NT * NP <= 4;  // few dot products would wait for each other
  const uint32_t block = w.format->block, blocks = w.layout.blocks;
  const uint8_t* panels[NP];
  typename S::F acc[NP][NT];
  for (int p = 0; p < NP; ++p) {
    panels[p] = first + size_t(p) * w.layout.bytes;
    for (int t = 0; t < NT; ++t) acc[p][t] = S::zero();
  }
  NextPanels<S> next(w, first, NP);
  const bool asks_for_next = NP > 1 && next.fit(w, NP);
  for (uint32_t b = 0; b < blocks; ++b) {
    const uint32_t end = (b + 1) * block < w.columns ? (b + 1) * block : w.columns;
    using Shared = BlockRuns<S, kind, (NP > 1)>;
    const auto shared = [&]<size_t... p>(std::index_sequence<p...>) {
      return std::array<Shared, NP>{Shared(w, panels[p], b)...};
    }(std::make_index_sequence<NP>());
    typename S::I even[NP][NT], odd[NP][NT];
    for (int p = 0; p < NP; ++p)
      for (int t = 0; t < NT; ++t) even[p][t] = odd[p][t] = S::izero();
    for (uint32_t k = b * block; k < end; k += kColumnUnit) {
      if (asks && asks_for_next)
        next.prefetch();
      else if (asks)
        for (int p = 0; p < NP; ++p) prefetch_ahead<S>(w, panels[p], k, NP);
      const auto runs = [&]<size_t... p>(std::index_sequence<p...>) {
        return std::array<U, NP>{shared[p].run(w, panels[p], k)...};
      }(std::make_index_sequence<NP>());
#pragma GCC unroll 4
      for (uint32_t i = 0; i < 4; ++i) {
        typename S::W v[NP][2];
        for (int p = 0; p < NP; ++p) {
          runs[p].pair(i, v[p]);
          if constexpr (S::kSignedBias != 0 && NP > 1)
            for (typename S::W& each : v[p]) S::pin(each);
        }
        for (uint32_t j = 0; j < 2; ++j)
          for (int t = 0; t < NT; ++t)
            for (int p = 0; p < NP; ++p) {
              typename S::I& sum = kTwoChains && j ? odd[p][t] : even[p][t];
              sum = dot<S, U::kSigned>(sum, v[p][j], a.quants + size_t(t) * a.stride + k + i * 8 + j * 4);
            }
      }
    }
    for (int p = 0; p < NP; ++p) {
      const typename S::F d = S::load_f16(panels[p] + w.layout.scale + size_t{b} * 32);
      const typename S::F m = load_minimum<S, kind>(w, panels[p], b);
      for (int t = 0; t < NT; ++t) {
        const size_t at = size_t(t) * blocks + b;
        const typename S::I isum = kTwoChains ? S::iadd(even[p][t], odd[p][t]) : even[p][t];
        acc[p][t] = finish_block<S, kind>(acc[p][t], isum, d, m, a.scales[at], a.sums[at]);
      }
    }
  }
  for (int p = 0; p < NP; ++p)
    for (int t = 0; t < NT; ++t) S::store(out + size_t(t) * out_stride + p * kPanelRows, acc[p][t]);
}

template <class S, FormatKind kind>
void matmul_quantized(const MatrixView& w, uint32_t first, uint32_t last, const Activations& a, float* out, size_t out_stride,
                      uint8_t* scratch) {
  if (a.tokens > S::kDirectMost) {
    if constexpr (has_blocks(kind, false))
      if (w.format->block < kSuperBlock) return gemm_strips<S, kind, false>(w, first, last - first, a, out, out_stride, scratch);
    if constexpr (has_blocks(kind, true)) gemm_strips<S, kind, true>(w, first, last - first, a, out, out_stride, scratch);
    return;
  }
  const uint32_t parts = (a.tokens + S::kDirectTokens - 1) / S::kDirectTokens;
  for (uint32_t part = 0; part < parts; ++part) {
    const uint32_t token = a.tokens * part / parts, count = a.tokens * (part + 1) / parts - token;
    const Activations few = slice(a, token, count);
    with_count<S::kDirectTokens>(static_cast<int>(count), [&]<int NT>() {
      uint32_t p = first;
      const auto step = [&]<int NP>() {
        direct_panels<S, kind, NT, NP>(w, w.data + p * w.layout.bytes, few, out + token * out_stride + (p - first) * kPanelRows,
                                       out_stride);
        p += NP;
      };
      if constexpr (S::kTwoPanels && NT > 4)
        while (p + 2 <= last) step.template operator()<2>();
      while (p < last) step.template operator()<1>();
    });
  }
}

// Unquantized weights: one fma chain over ascending k for each row and token.
template <class S, FormatKind kind, int NT, int NP>
void float_tile(const MatrixView& w, uint32_t first, const Activations& a, uint32_t token, float* out, size_t out_stride) {
  const size_t width = kind == FormatKind::bf16 ? 2 : 4;
  const uint8_t* panels[NP];
  for (int p = 0; p < NP; ++p) panels[p] = w.data + (first + p) * w.layout.bytes + w.layout.quants;
  const float* x = a.values + size_t{token} * a.columns;
  typename S::F acc[NT][NP];
  for (int t = 0; t < NT; ++t)
    for (int p = 0; p < NP; ++p) acc[t][p] = S::zero();
  for (uint32_t k = 0; k < w.columns; ++k)
    for (int p = 0; p < NP; ++p) {
      const uint8_t* at = panels[p] + size_t{k} * kPanelRows * width;
      typename S::F v;
      if constexpr (kind == FormatKind::bf16)
        v = S::load_bf16(at);
      else
        v = S::load(reinterpret_cast<const float*>(at));
      for (int t = 0; t < NT; ++t) acc[t][p] = S::fma(v, S::set1(x[size_t(t) * a.columns + k]), acc[t][p]);
    }
  for (int t = 0; t < NT; ++t)
    for (int p = 0; p < NP; ++p) S::store(out + size_t{token + t} * out_stride + p * kPanelRows, acc[t][p]);
}

template <class S, FormatKind kind>
void matmul_float(const MatrixView& w, uint32_t first, uint32_t last, const Activations& a, float* out, size_t out_stride) {
  for (uint32_t p = first; p < last; p += S::kTilePanels) {
    const int np = last - p < S::kTilePanels ? static_cast<int>(last - p) : S::kTilePanels;
    with_count<S::kTilePanels>(np, [&]<int NP>() {
      for (uint32_t t = 0; t < a.tokens; t += S::kTileTokens) {
        const int nt = a.tokens - t < S::kTileTokens ? static_cast<int>(a.tokens - t) : S::kTileTokens;
        with_count<S::kTileTokens>(
            nt, [&]<int NT>() { float_tile<S, kind, NT, NP>(w, p, a, t, out + size_t{p - first} * kPanelRows, out_stride); });
      }
    });
  }
}

template <class S>
void matmul_simd(const MatrixView& w, uint32_t first, uint32_t last, const Activations& a, float* out, size_t out_stride,
                 uint8_t* scratch) {
  with_kind(w.format->kind, [&]<FormatKind kind>() {
    if constexpr (traits(kind).weight >= 16)
      matmul_float<S, kind>(w, first, last, a, out, out_stride);
    else if constexpr (kind != FormatKind::vector)
      matmul_quantized<S, kind>(w, first, last, a, out, out_stride, scratch);
  });
}

}  // namespace
}  // namespace q3e
