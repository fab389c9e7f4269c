// The matrix product of many tokens for formats whose blocks are shorter than 256 columns, for any tier's vocabulary S. With a
// float step in every 32 columns it is those steps that count: here they find everything in registers, over 256 columns at a
// time.
#pragma once

#include <type_traits>

#include "ukernels/unpack_simd.h"

namespace q3e {
namespace {

// What a token brings to the float step of a block.
template <class S, FormatKind kind>
struct TokenBlock {
  static constexpr bool kMinimum = kind == FormatKind::q4a;
  static constexpr int32_t kBias = Unpack<S, kind>::kBias;
  float scale;
  std::conditional_t<kMinimum, float, int32_t> sum;  // of its quants; of integers -kBias times it, where a sum starts
};

// 256 columns of panels with shorter blocks, ready for tiles.
template <class S, FormatKind kind>
struct Strip {
  const uint8_t* weights;             // vectors [quads][panels]
  const float *scales, *minimum;      // [blocks][panels][16]
  const TokenBlock<S, kind>* tokens;  // [blocks][token_count]
  const int8_t* quants;               // [token_count][quants_stride]
  size_t panels, token_count, quants_stride;
  uint32_t blocks, block_quads;
};

// out[NT][NP][16] = before or zero, plus a strip. Its many float steps find what they add in registers: integers of a block and
// float32 of the rows.
template <class S, FormatKind kind, int NT, int NP>
[[gnu::noinline]] void strip_tile(const Strip<S, kind>& strip, bool begin, float* out, size_t out_stride) {
  using Token = TokenBlock<S, kind>;
  typename S::F acc[NT][NP];
  for (int t = 0; t < NT; ++t)
    for (int p = 0; p < NP; ++p) acc[t][p] = begin ? S::zero() : S::load(out + size_t(t) * out_stride + p * kPanelRows);
  const size_t panels = strip.panels, stride = strip.quants_stride, token_count = strip.token_count;
  const uint8_t* weights = strip.weights;
  const int8_t* quants = strip.quants;
  const float *scales = strip.scales, *minimum = strip.minimum;
  const Token* tokens = strip.tokens;
  for (uint32_t b = strip.blocks; b > 0; --b) {
    typename S::I isum[NT][NP];
    for (int t = 0; t < NT; ++t)
      for (int p = 0; p < NP; ++p)
        if constexpr (Token::kBias == 0)
          isum[t][p] = S::izero();
        else
          isum[t][p] = S::iset1(tokens[t].sum);
    for (uint32_t q = strip.block_quads; q > 0; --q, weights += panels * 64, quants += 4) {
      typename S::W v[NP];
      for (int p = 0; p < NP; ++p) {
        v[p] = S::load_w(weights + p * 64);
        S::pin(v[p]);
      }
      for (int t = 0; t < NT; ++t)
        for (int p = 0; p < NP; ++p) isum[t][p] = dot<S, Unpack<S, kind>::kSigned>(isum[t][p], v[p], quants + size_t(t) * stride);
    }
    for (int t = 0; t < NT; ++t) {
      const typename S::F sa = S::set1(tokens[t].scale);
      for (int p = 0; p < NP; ++p)
        acc[t][p] = S::fma(S::to_float(isum[t][p]), S::mul(S::load(scales + p * kPanelRows), sa), acc[t][p]);
      if constexpr (Token::kMinimum)
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

// The scratch of a call, for strips.
template <class S, FormatKind kind>
struct StripScratch {
  static constexpr size_t kMostBlocks = kSuperBlock / kColumnUnit;
  uint8_t weights[size_t{kSuperBlock} / 4 * kGemmPanels * 64];
  float scales[kMostBlocks * kGemmPanels * kPanelRows], minimum[kMostBlocks * kGemmPanels * kPanelRows];
  TokenBlock<S, kind> tokens[kMostBlocks * kGemmTokens];
};

// As gemm_panels, for blocks shorter than 256.
template <class S, FormatKind kind>
void gemm_strips(const MatrixView& w, uint32_t first, uint32_t count, const Activations& a, float* out, size_t out_stride,
                 uint8_t* scratch) {
  using Token = TokenBlock<S, kind>;
  static_assert(sizeof(StripScratch<S, kind>) <= kMatmulScratchBytes);
  auto& at = *reinterpret_cast<StripScratch<S, kind>*>(scratch);
  const uint32_t block = w.format->block;
  for (uint32_t begin = 0; begin < w.columns; begin += kSuperBlock) {
    const uint32_t end = begin + at_most(w.columns - begin, kSuperBlock), first_block = begin / block,
                   blocks = (end - begin) / block;
    for (uint32_t p = 0; p < count; ++p) {
      const uint8_t* panel = w.data + (first + p) * w.layout.bytes;
      for (uint32_t k = begin; k < end; k += kColumnUnit)
        for_each_quad<S>(Unpack<S, kind>(w, panel, k), [&](uint32_t quad, typename S::W v) __attribute__((always_inline)) {
          S::store_w(at.weights + ((size_t{k - begin} / 4 + quad) * count + p) * 64, v);
        });
      for (uint32_t b = 0; b < blocks; ++b) {
        const size_t i = (size_t{b} * count + p) * kPanelRows;
        S::store(at.scales + i, S::load_f16(panel + w.layout.scale + size_t{first_block + b} * 32));
        if constexpr (Token::kMinimum) S::store(at.minimum + i, load_minimum<S, kind>(w, panel, first_block + b));
      }
    }
    for (uint32_t t = 0; t < a.tokens; ++t)
      for (uint32_t b = 0; b < blocks; ++b) {
        const size_t i = size_t{t} * w.layout.blocks + first_block + b;
        Token& token = at.tokens[b * a.tokens + t];
        token.scale = a.scales[i];
        if constexpr (Token::kMinimum)
          token.sum = static_cast<float>(a.sums[i]);
        else
          token.sum = -Token::kBias * a.sums[i];
      }
    ColumnsAhead<S> ahead(w, first, count, end, tiles_of(count, S::kTilePanels) * tiles_of(a.tokens, S::kStripTokens));
    for (uint32_t p = 0; p < count; p += S::kTilePanels)
      for (uint32_t t = 0; t < a.tokens; t += S::kStripTokens) {
        ahead.ask();
        const Strip<S, kind> strip{at.weights + p * 64,
                                   at.scales + p * kPanelRows,
                                   at.minimum + p * kPanelRows,
                                   at.tokens + t,
                                   a.quants + size_t{t} * a.stride + begin,
                                   count,
                                   a.tokens,
                                   a.stride,
                                   blocks,
                                   block / 4};
        with_count<S::kTilePanels>(static_cast<int>(at_most(count - p, S::kTilePanels)), [&]<int NP>() {
          with_count<S::kStripTokens>(static_cast<int>(at_most(a.tokens - t, S::kStripTokens)), [&]<int NT>() {
            strip_tile<S, kind, NT, NP>(strip, begin == 0, out + size_t{t} * out_stride + p * kPanelRows, out_stride);
          });
        });
      }
  }
}

}  // namespace
}  // namespace q3e
