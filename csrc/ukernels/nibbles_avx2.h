// Products of four-bit weights for AVX2, which has no dot product of int8.
//
// vpmaddubsw of q in 0..15 with two activations is at most 15 * 127 * 2 = 3,810 in magnitude, so the eight of a run of 32 columns
// add up to 30,480 in int16. One vpmaddwd a run then widens the sums and multiplies them with the group's scale s for nothing.
// What q4z adds, z * sum(a), is one more product a run and not one a quad. All of it is exact: the same integers as s * q + z
// times a gives, for 4.5 instructions in 64 products where weights of eight bits need 8 (sign, vpmaddubsw, vpmaddwd, add, twice).
#pragma once

#include "ukernels/matmul_simd.h"
#include "ukernels/simd_avx2.h"

namespace q3e {
namespace {

inline constexpr uint32_t kRunQuads = kColumnUnit / 4;
inline constexpr uint32_t kBlockRuns = kSuperBlock / kColumnUnit;
// 6 tokens are 12 sums; with two weight registers, the activations and a product that is 16 registers.
inline constexpr int kNibbleTokens = 6;
inline constexpr int kNibbleDirectTokens = 4;  // up to here weights go straight from memory to the products

// The integer scales and offsets of one panel's block of q4z.
struct NibbleGroups {
  Avx2::W low, high;                // uint16 [16][2]: s - 1 of groups 0 to 3 and 4 to 7, four bits each, twice
  Avx2::W offsets[kBlockRuns / 2];  // int16 [16][2]: z of groups 0 and 2, 1 and 3, 4 and 6, 5 and 7
  uint32_t group = kColumnUnit;

  NibbleGroups() = default;
  NibbleGroups(const MatrixView& w, const uint8_t* panel, uint32_t b) : group(w.format->group) {
    const uint32_t groups = kSuperBlock / group;
    const uint8_t* s = panel + w.layout.sub_scale + size_t{b} * kPanelRows * groups / 2;
    const auto twice = [](__m256i v) {
      return _mm256_or_si256(_mm256_and_si256(v, _mm256_set1_epi32(0xffff)), _mm256_slli_epi32(v, 16));
    };
    if (groups == 8) {
      const Avx2::W v = Avx2::load_w(s);
      low = {twice(v.lo), twice(v.hi)};
      high = {twice(_mm256_srli_epi32(v.lo, 16)), twice(_mm256_srli_epi32(v.hi, 16))};
    } else {
      low = high = {twice(_mm256_cvtepu16_epi32(Avx2::load128(s))), twice(_mm256_cvtepu16_epi32(Avx2::load128(s + 16)))};
    }
    const uint8_t* z = panel + w.layout.sub_offset + size_t{b} * kPanelRows * groups;
    for (uint32_t i = 0; i < groups / 2; i += 2, z += 64) {
      const Avx2::W v = Avx2::load_w(z);
      offsets[i] = {_mm256_srai_epi16(_mm256_slli_epi16(v.lo, 8), 8), _mm256_srai_epi16(_mm256_slli_epi16(v.hi, 8), 8)};
      offsets[i + 1] = {_mm256_srai_epi16(v.lo, 8), _mm256_srai_epi16(v.hi, 8)};
    }
  }

  // s of the group that holds a run of 32 columns: int16 [16][2].
  Avx2::W scales(uint32_t run) const {
    const uint32_t g = run * kColumnUnit / group;
    const Avx2::W& v = g < 4 ? low : high;
    const __m128i shift = _mm_cvtsi32_si128(static_cast<int>(4 * (g % 4)));
    const __m256i nibble = _mm256_set1_epi16(15), one = _mm256_set1_epi16(1);
    return {_mm256_add_epi16(_mm256_and_si256(_mm256_srl_epi16(v.lo, shift), nibble), one),
            _mm256_add_epi16(_mm256_and_si256(_mm256_srl_epi16(v.hi, shift), nibble), one)};
  }

  // isum + z * sums, see sum_groups.
  Avx2::I add_offsets(Avx2::I isum, const int16_t* sums) const {
    for (uint32_t i = 0; i < kSuperBlock / group / 2; ++i) {
      const __m256i v = Avx2::broadcast(reinterpret_cast<const int8_t*>(sums + i * 2));
      isum = Avx2::iadd(isum, {(__v8si)_mm256_madd_epi16(offsets[i].lo, v), (__v8si)_mm256_madd_epi16(offsets[i].hi, v)});
    }
    return isum;
  }
};

// sums[kBlockRuns]: int16, of each group of the block's activations in the order of NibbleGroups::offsets; zero past the end.
static inline void sum_groups(const int8_t* a, uint32_t columns, uint32_t group, int16_t* sums) {
  for (uint32_t g = 0; g < kBlockRuns; ++g) {
    int32_t sum = 0;
    for (uint32_t k = g * group; k < (g + 1) * group && k < columns; k += kColumnUnit) sum += Avx2::sum_run(a + k);
    sums[(g & 4) | (g & 1) << 1 | (g & 2) >> 1] = static_cast<int16_t>(sum);
  }
}

// Up to kNibbleDirectTokens tokens, one panel of q4z. sums: [blocks][NT][kBlockRuns], see sum_groups.
template <int NT>
void direct_nibbles(const MatrixView& w, const uint8_t* panel, const Activations& a, const int16_t* sums, float* out,
                    size_t out_stride) {
  Avx2::F acc[NT];
  for (int t = 0; t < NT; ++t) acc[t] = Avx2::zero();
  for (uint32_t b = 0; b < w.layout.blocks; ++b) {
    const uint32_t begin = b * kSuperBlock, end = begin + kSuperBlock < w.columns ? begin + kSuperBlock : w.columns;
    const NibbleGroups groups(w, panel, b);
    Avx2::I isums[NT];
    for (int t = 0; t < NT; ++t) isums[t] = groups.add_offsets(Avx2::izero(), sums + (size_t{b} * NT + t) * kBlockRuns);
    for (uint32_t k = begin; k < end; k += kColumnUnit) {
      prefetch_ahead<Avx2>(w, panel, k);
      __v16hi lo[NT], hi[NT];
      for (int t = 0; t < NT; ++t) lo[t] = hi[t] = __v16hi{};
      for_each_quad<Avx2>(UnpackNibbles<Avx2>(w, panel, k), [&](uint32_t quad, Avx2::W v) __attribute__((always_inline)) {
        for (int t = 0; t < NT; ++t) {
          const __m256i x = Avx2::broadcast(a.quants + size_t(t) * a.stride + k + quad * 4);
          lo[t] += (__v16hi)_mm256_maddubs_epi16(v.lo, x);
          hi[t] += (__v16hi)_mm256_maddubs_epi16(v.hi, x);
        }
      });
      const Avx2::W s = groups.scales((k - begin) / kColumnUnit);
      for (int t = 0; t < NT; ++t)
        isums[t] = Avx2::iadd(isums[t],
                              {(__v8si)_mm256_madd_epi16((__m256i)lo[t], s.lo), (__v8si)_mm256_madd_epi16((__m256i)hi[t], s.hi)});
    }
    const Avx2::F d = Avx2::load_f16(panel + w.layout.scale + size_t{b} * 32);
    for (int t = 0; t < NT; ++t) {
      const size_t at = size_t(t) * w.layout.blocks + b;
      acc[t] = finish_block<Avx2, FormatKind::q4z>(acc[t], isums[t], d, Avx2::zero(), a.scales[at], a.sums[at]);
    }
  }
  for (int t = 0; t < NT; ++t) Avx2::store(out + size_t(t) * out_stride, acc[t]);
}

// Whether the groups' sums of all columns fit the scratch of a call.
static inline bool direct_nibbles_fit(const MatrixView& w, uint32_t tokens) {
  return tokens <= kNibbleDirectTokens && size_t{w.layout.blocks} * tokens * kBlockRuns * 2 <= kMatmulScratchBytes;
}

// As matmul_quantized in matmul_simd.h for few tokens, for q4z.
static inline void direct_q4z(const MatrixView& w, uint32_t first, uint32_t last, const Activations& a, float* out,
                              size_t out_stride, uint8_t* scratch) {
  int16_t* sums = reinterpret_cast<int16_t*>(scratch);
  for (uint32_t k = 0, i = 0; k < w.columns; k += kSuperBlock)
    for (uint32_t t = 0; t < a.tokens; ++t, ++i)
      sum_groups(a.quants + size_t{t} * a.stride + k, w.columns - k, w.format->group, sums + size_t{i} * kBlockRuns);
  with_count<kNibbleDirectTokens>(static_cast<int>(a.tokens), [&]<int NT>() {
    for (uint32_t p = first; p < last; ++p)
      direct_nibbles<NT>(w, w.data + p * w.layout.bytes, a, sums, out + (p - first) * kPanelRows, out_stride);
  });
}

// isums[t] = exact products of one block of K: one panel (uint8 [runs * kRunQuads][16][4], scales [runs]), NT tokens.
template <FormatKind kind, int NT>
void nibble_tile(const uint8_t* w, const Avx2::W* scales, uint32_t runs, const int8_t* a, size_t stride, Avx2::I* isums) {
  for (uint32_t run = 0; run < runs; ++run) {
    __v16hi lo[NT], hi[NT];
    for (int t = 0; t < NT; ++t) lo[t] = hi[t] = __v16hi{};
    // Not unrolled: GCC 12 would add up all products of a sum as a tree and spill most of them.
#pragma GCC unroll 1
    for (uint32_t quad = 0; quad < kRunQuads; ++quad, w += 64, a += 4) {
      const __m256i w_lo = Avx2::load256(w), w_hi = Avx2::load256(w + 32);
#pragma GCC unroll 6
      for (int t = 0; t < NT; ++t) {
        const __m256i v = Avx2::broadcast(a + size_t(t) * stride);
        lo[t] += (__v16hi)_mm256_maddubs_epi16(w_lo, v);
        hi[t] += (__v16hi)_mm256_maddubs_epi16(w_hi, v);
      }
    }
    Avx2::W s = {_mm256_set1_epi16(1), _mm256_set1_epi16(1)};
    if constexpr (kind == FormatKind::q4z) s = scales[run];
#pragma GCC unroll 6
    for (int t = 0; t < NT; ++t) {
      const Avx2::I sum = {(__v8si)_mm256_madd_epi16((__m256i)lo[t], s.lo), (__v8si)_mm256_madd_epi16((__m256i)hi[t], s.hi)};
      isums[t] = run == 0 ? sum : Avx2::iadd(isums[t], sum);
    }
  }
}

// One block of K from `begin` to `end` of one panel, for all tokens.
template <FormatKind kind>
void gemm_nibble_block(const MatrixView& w, const uint8_t* panel, uint32_t b, uint32_t begin, uint32_t end, const Activations& a,
                       const int16_t* sums, float* out, size_t out_stride, uint8_t* scratch) {
  const uint32_t runs = (end - begin) / kColumnUnit;
  for (uint32_t run = 0; run < runs; ++run)
    for_each_quad<Avx2>(UnpackNibbles<Avx2>(w, panel, begin + run * kColumnUnit),
                        [&](uint32_t quad, Avx2::W v)
                            __attribute__((always_inline)) { Avx2::store_w(scratch + (run * kRunQuads + quad) * 64, v); });
  const NibbleGroups groups = kind == FormatKind::q4z ? NibbleGroups(w, panel, b) : NibbleGroups();
  Avx2::W scales[kBlockRuns];
  if constexpr (kind == FormatKind::q4z)
    for (uint32_t run = 0; run < runs; ++run) scales[run] = groups.scales(run);
  const Avx2::F d = Avx2::load_f16(panel + w.layout.scale + size_t{b} * 32), m = load_minimum<Avx2, kind>(w, panel, b);
  for (uint32_t t = 0; t < a.tokens; t += kNibbleTokens) {
    const uint32_t nt = a.tokens - t < kNibbleTokens ? a.tokens - t : kNibbleTokens;
    Avx2::I isums[kNibbleTokens];
    with_count<kNibbleTokens>(static_cast<int>(nt), [&]<int NT>() {
      nibble_tile<kind, NT>(scratch, scales, runs, a.quants + size_t{t} * a.stride + begin, a.stride, isums);
    });
    for (uint32_t j = 0; j < nt; ++j) {
      float* o = out + size_t{t + j} * out_stride;
      const size_t at = size_t{t + j} * w.layout.blocks + b;
      Avx2::I isum = isums[j];
      if constexpr (kind == FormatKind::q4z) isum = groups.add_offsets(isum, sums + size_t{t + j} * kBlockRuns);
      const Avx2::F before = b == 0 ? Avx2::zero() : Avx2::load(o);
      Avx2::store(o, finish_block<Avx2, kind>(before, isum, d, m, a.scales[at], a.sums[at]));
    }
  }
}

// As gemm_strips in strips_simd.h, for q4z, q4g and q4a.
template <FormatKind kind>
void gemm_nibbles(const MatrixView& w, uint32_t first, uint32_t count, const Activations& a, float* out, size_t out_stride,
                  uint8_t* scratch) {
  const uint32_t block = w.format->block;
  int16_t sums[kGemmTokens * kBlockRuns];
  ColumnsAhead<Avx2> ahead(w, first, count, 0, 1);
  for (uint32_t b = 0; b < w.layout.blocks; ++b) {
    const uint32_t begin = b * block, end = begin + block < w.columns ? begin + block : w.columns;
    if (begin % kSuperBlock == 0) ahead = ColumnsAhead<Avx2>(w, first, count, begin + kSuperBlock, count * (kSuperBlock / block));
    if constexpr (kind == FormatKind::q4z)
      for (uint32_t t = 0; t < a.tokens; ++t)
        sum_groups(a.quants + size_t{t} * a.stride + begin, end - begin, w.format->group, sums + size_t{t} * kBlockRuns);
    for (uint32_t p = 0; p < count; ++p) {
      ahead.ask();
      gemm_nibble_block<kind>(w, w.data + (first + p) * w.layout.bytes, b, begin, end, a, sums, out + p * kPanelRows, out_stride,
                              scratch);
    }
  }
}

}  // namespace
}  // namespace q3e
