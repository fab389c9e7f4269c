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
[[gnu::noinline]] void direct_panels(const MatrixView& w, const uint8_t* first, const Activations& a, float* out,
                                     size_t out_stride) {
  using U = Unpack<S, kind>;
  constexpr bool kTwoChains = NT * NP <= 4;  // few dot products would wait for each other
  // In a loop GCC 12 reads what q4z and q6z keep of a group again for each pair.
  constexpr bool kRolled = NT * NP >= 10 && kind != FormatKind::q4z && kind != FormatKind::q6z;
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
      for_each_pair<kRolled>([&](uint32_t i) __attribute__((always_inline)) {
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
      });
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
void matmul_direct(const MatrixView& w, uint32_t first, uint32_t last, const Activations& a, float* out, size_t out_stride) {
  using Panels = decltype(direct_panels<S, kind, 1, 1>);
  constexpr uint32_t kAlone = S::kTwoPanels ? 4 : S::kDirectTokens;  // tokens that a panel takes by itself
  const auto run = [&](Panels* panels, uint32_t panel, uint32_t token, uint32_t tokens) {
    panels(w, w.data + panel * w.layout.bytes, slice(a, token, tokens),
           out + token * out_stride + size_t{panel - first} * kPanelRows, out_stride);
  };
  const uint32_t parts = tiles_of(a.tokens, S::kDirectTokens);
  for (uint32_t part = 0; part < parts; ++part) {
    uint32_t token = a.tokens * part / parts, panel = first;
    const uint32_t end = a.tokens * (part + 1) / parts, tokens = end - token;
    if constexpr (S::kTwoPanels) {
      Panels* two = nullptr;
      if (tokens > kAlone)
        with_count<S::kDirectTokens - kAlone>(static_cast<int>(tokens - kAlone),
                                              [&]<int more>() { two = direct_panels<S, kind, kAlone + more, 2>; });
      for (; two && panel + 2 <= last; panel += 2) run(two, panel, token, tokens);
      if (panel == last) continue;
    }
    // The last of an odd number of panels, which few matrices have, takes many tokens by halves.
    for (const uint32_t halves = tiles_of(tokens, kAlone), begin = token; token < end;) {
      const uint32_t some = tokens / halves + (token > begin ? tokens % halves : 0);
      Panels* one = nullptr;
      with_count<kAlone>(static_cast<int>(some), [&]<int NT>() { one = direct_panels<S, kind, NT, 1>; });
      for (uint32_t p = panel; p < last; ++p) run(one, p, token, some);
      token += some;
    }
  }
}

template <class S, FormatKind kind>
void matmul_quantized(const MatrixView& w, uint32_t first, uint32_t last, const Activations& a, float* out, size_t out_stride,
                      uint8_t* scratch) {
  if (a.tokens <= S::kDirectMost) return matmul_direct<S, kind>(w, first, last, a, out, out_stride);
  if constexpr (has_blocks(kind, false))
    if (w.format->block < kSuperBlock) return gemm_strips<S, kind, false>(w, first, last - first, a, out, out_stride, scratch);
  if constexpr (has_blocks(kind, true)) gemm_strips<S, kind, true>(w, first, last - first, a, out, out_stride, scratch);
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
  for (uint32_t p = first, together; p < last; p += together) {
    together = panels_together(last - p, S::kTilePanels);
    with_one_of<S::kTilePanels, 1>(static_cast<int>(together), [&]<int NP>() {
      for (uint32_t t = 0; t < a.tokens; t += S::kTileTokens)
        with_count<S::kTileTokens>(static_cast<int>(at_most(a.tokens - t, S::kTileTokens)), [&]<int NT>() {
          float_tile<S, kind, NT, NP>(w, p, a, t, out + size_t{p - first} * kPanelRows, out_stride);
        });
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
