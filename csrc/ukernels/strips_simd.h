// The matrix product of many tokens, for any tier's vocabulary S (simd_<isa>.h): 256 columns of up to four panels at a time are
// unpacked into scratch, where they stay in L1 and serve every token of the call, tile by tile. A tile does its float steps
// itself, with sums in registers: with blocks of 32 columns it is those steps that count.
#pragma once

#include <type_traits>

#include "ukernels/unpack_simd.h"

namespace q3e {
namespace {

// What a token brings to the float step of a block.
template <bool has_minimum>
struct TokenBlock {
  float scale;
  std::conditional_t<has_minimum, float, int32_t> sum;  // of its quants; of integers -bias times it, where a sum starts
};

// All that tiles know of a format: those that unpack to the same kind of strip share their code.
template <bool is_signed, bool has_bias, bool has_minimum>
struct StripKind {
  static constexpr bool kSigned = is_signed, kBias = has_bias, kMinimum = has_minimum;
  using Token = TokenBlock<has_minimum>;
};
// With a bias on signed weights there is one dot product for both.
template <class S, FormatKind kind>
using StripKindOf =
    StripKind<Unpack<S, kind>::kSigned && S::kSignedBias == 0, Unpack<S, kind>::kBias != 0, kind == FormatKind::q4a>;

// 256 columns of some panels, ready for tiles.
template <class K>
struct Strip {
  const uint8_t* weights;           // vectors [quads][panels]
  const float *scales, *minimum;    // [blocks][panels][16]
  const typename K::Token* tokens;  // [blocks][token_count]
  const int8_t* quants;             // [token_count][quants_stride]
  size_t panels, token_count, quants_stride;
  uint32_t blocks, block_quads;
};

// Two quads of a panel in a strip, as vectors or in the order that a vocabulary has of its own.
template <class S>
[[gnu::always_inline]] inline void store_strip(uint8_t* first, uint8_t* second, const typename S::W* v) {
  if constexpr (requires { S::store_strip(first, second, v); }) {
    S::store_strip(first, second, v);
  } else {
    S::store_w(first, v[0]);
    S::store_w(second, v[1]);
  }
}
template <class S>
[[gnu::always_inline]] inline typename S::W load_strip(const uint8_t* p) {
  if constexpr (requires { S::load_strip(p); })
    return S::load_strip(p);
  else
    return S::load_w(p);
}

// out[NT][NP][16] = before or zero, plus a strip. `whole`: of one block; else its rows' sums stay in registers from block to
// block.
template <class S, class K, bool whole, int NT, int NP>
[[gnu::noinline]] void strip_tile(const Strip<K>& strip, bool begin, float* out, size_t out_stride) {
  typename S::F acc[NT][NP];
  if constexpr (!whole)
    for (int t = 0; t < NT; ++t)
      for (int p = 0; p < NP; ++p) acc[t][p] = begin ? S::zero() : S::load(out + size_t(t) * out_stride + p * kPanelRows);
  const size_t panels = strip.panels, stride = strip.quants_stride, token_count = strip.token_count;
  const uint8_t* weights = strip.weights;
  const int8_t* quants = strip.quants;
  const float *scales = strip.scales, *minimum = strip.minimum;
  const typename K::Token* tokens = strip.tokens;
  for (uint32_t b = whole ? 1 : strip.blocks; b > 0; --b) {
    typename S::I isum[NT][NP];
    for (int t = 0; t < NT; ++t)
      for (int p = 0; p < NP; ++p)
        if constexpr (K::kBias)
          isum[t][p] = S::iset1(tokens[t].sum);
        else
          isum[t][p] = S::izero();
    for (uint32_t q = strip.block_quads; q > 0; --q, weights += panels * 64, quants += 4) {
      typename S::W v[NP];
      for (int p = 0; p < NP; ++p) {
        v[p] = load_strip<S>(weights + p * 64);
        if constexpr (S::kSignedBias != 0) S::pin(v[p]);  // AVX2 needs |w|, too, and has no register left
      }
      for (int t = 0; t < NT; ++t)
        for (int p = 0; p < NP; ++p) isum[t][p] = dot<S, K::kSigned>(isum[t][p], v[p], quants + size_t(t) * stride);
    }
    if constexpr (whole)
      for (int t = 0; t < NT; ++t)
        for (int p = 0; p < NP; ++p) acc[t][p] = begin ? S::zero() : S::load(out + size_t(t) * out_stride + p * kPanelRows);
    for (int t = 0; t < NT; ++t) {
      const typename S::F sa = S::set1(tokens[t].scale);
      for (int p = 0; p < NP; ++p)
        acc[t][p] = S::fma(S::to_float(isum[t][p]), S::mul(S::load(scales + p * kPanelRows), sa), acc[t][p]);
      if constexpr (K::kMinimum)
        for (int p = 0; p < NP; ++p)
          acc[t][p] = S::fma(S::set1(tokens[t].sum), S::mul(S::load(minimum + p * kPanelRows), sa), acc[t][p]);
    }
    scales += panels * kPanelRows;
    minimum += panels * kPanelRows;
    tokens += token_count;
  }
  for (int t = 0; t < NT; ++t)
    for (int p = 0; p < NP; ++p) S::store(out + size_t(t) * out_stride + p * kPanelRows, acc[t][p]);
}

// The scratch of a call.
template <class K>
struct StripScratch {
  static constexpr size_t kMostBlocks = kSuperBlock / kColumnUnit;
  uint8_t weights[size_t{kSuperBlock} / 4 * kGemmPanels * 64];
  float scales[kMostBlocks * kGemmPanels * kPanelRows], minimum[kMostBlocks * kGemmPanels * kPanelRows];
  typename K::Token tokens[kMostBlocks * kGemmTokens];
};

template <class S, FormatKind kind, bool whole>
void gemm_strips(const MatrixView& w, uint32_t first, uint32_t count, const Activations& a, float* out, size_t out_stride,
                 uint8_t* scratch) {
  using K = StripKindOf<S, kind>;
  using Token = typename K::Token;
  constexpr int kTokens = whole ? S::kTileTokens : S::kStripTokens, kPanels = S::kTilePanels;
  static_assert(sizeof(StripScratch<K>) <= kMatmulScratchBytes);
  auto& at = *reinterpret_cast<StripScratch<K>*>(scratch);
  const uint32_t block = w.format->block;
  for (uint32_t begin = 0; begin < w.columns; begin += kSuperBlock) {
    const uint32_t columns = at_most(w.columns - begin, kSuperBlock);
    const uint32_t first_block = begin / block, blocks = whole ? 1 : columns / block;
    for (uint32_t p = 0; p < count; ++p) {
      const uint8_t* panel = w.data + (first + p) * w.layout.bytes;
      for (uint32_t k = 0; k < columns; k += kColumnUnit) {
        const Unpack<S, kind> run(w, panel, begin + k);
#pragma GCC unroll 4
        for (uint32_t i = 0; i < 4; ++i) {
          typename S::W v[2];
          run.pair(i, v);
          uint8_t* const to = at.weights + (size_t{k / 4 + 2 * i} * count + p) * 64;
          store_strip<S>(to, to + size_t{count} * 64, v);
        }
      }
      for (uint32_t b = 0; b < blocks; ++b) {
        const size_t i = (size_t{b} * count + p) * kPanelRows;
        S::store(at.scales + i, S::load_f16(panel + w.layout.scale + size_t{first_block + b} * 32));
        if constexpr (K::kMinimum) S::store(at.minimum + i, load_minimum<S, kind>(w, panel, first_block + b));
      }
    }
    for (uint32_t t = 0; t < a.tokens; ++t)
      for (uint32_t b = 0; b < blocks; ++b) {
        const size_t i = size_t{t} * w.layout.blocks + first_block + b;
        Token& token = at.tokens[b * a.tokens + t];
        token.scale = a.scales[i];
        if constexpr (K::kMinimum)
          token.sum = static_cast<float>(a.sums[i]);
        else
          token.sum = -Unpack<S, kind>::kBias * a.sums[i];
      }
    ColumnsAhead<S> ahead(w, first, count, begin + columns, tiles_of(count, kPanels) * tiles_of(a.tokens, kTokens));
    for (uint32_t p = 0, together; p < count; p += together) {
      together = panels_together(count - p, kPanels);
      for (uint32_t t = 0; t < a.tokens; t += kTokens) {
        ahead.ask();
        const Strip<K> strip{at.weights + p * 64,
                             at.scales + p * kPanelRows,
                             at.minimum + p * kPanelRows,
                             at.tokens + t,
                             a.quants + size_t{t} * a.stride + begin,
                             count,
                             a.tokens,
                             a.stride,
                             blocks,
                             (whole ? columns : block) / 4};
        with_one_of<kPanels, 1>(static_cast<int>(together), [&]<int NP>() {
          with_count<kTokens>(static_cast<int>(at_most(a.tokens - t, kTokens)), [&]<int NT>() {
            strip_tile<S, K, whole, NT, NP>(strip, begin == 0, out + size_t{t} * out_stride + p * kPanelRows, out_stride);
          });
        });
      }
    }
  }
}

}  // namespace
}  // namespace q3e
