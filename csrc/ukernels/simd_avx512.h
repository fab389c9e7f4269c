// The AVX-512 VNNI vocabulary of the SIMD kernels: 16 float lanes, 16 int32 lanes, 64 weight bytes, one register each.
// Everything has internal linkage: this header is compiled with its tier's flags only.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace q3e {
namespace {

// For `vpshufb`: byte i of every row's four, as a uint16 twice or as four bytes.
struct RowSelect {
  alignas(64) uint8_t scale[4][64] = {}, offset[4][64] = {};
  constexpr RowSelect() {
    for (int i = 0; i < 4; ++i)
      for (int at = 0; at < 64; ++at) {
        offset[i][at] = static_cast<uint8_t>(at % 16 / 4 * 4 + i);
        scale[i][at] = at % 2 ? 0x80 : offset[i][at];  // 0x80: zero
      }
  }
};
constexpr RowSelect kSelect;

struct Avx512 {
  using F = __m512;  // 16 float32
  // 16 int32. Not __m512i, whose lanes are 64 bits: GCC 12 keeps a sum in both types at once across a loop and spills half of
  // them.
  using I = __v16si;
  using W = __m512i;  // uint8 [16 rows][4 k]; signed weights are stored + 128

  // Register tiles: tokens x panels of a matmul, rows x vectors of attention.
  // A matmul of up to kDirectMost tokens takes weights straight from memory to the dot products, for kDirectTokens at a time.
  static constexpr uint32_t kDirectTokens = 8, kDirectMost = 16;
  static constexpr bool kTwoPanels = true;  // registers allow two panels at once
  static constexpr int kTileTokens = 6, kTilePanels = 4;
  static constexpr int kStripTokens = 3;
  static constexpr int kTileRows = 6, kTileVectors = 4;
  static constexpr int kDeltaVectors = 2;      // of columns of a delta net's state at once
  static constexpr int32_t kSignedBias = 128;  // what a signed W carries on every weight

  static F zero() { return _mm512_setzero_ps(); }
  static F set1(float v) { return _mm512_set1_ps(v); }
  static F load(const float* p) { return _mm512_loadu_ps(p); }
  static void store(float* p, F v) { _mm512_storeu_ps(p, v); }
  static F add(F a, F b) { return _mm512_add_ps(a, b); }
  static F sub(F a, F b) { return _mm512_sub_ps(a, b); }
  static F mul(F a, F b) { return _mm512_mul_ps(a, b); }
  static F div(F a, F b) { return _mm512_div_ps(a, b); }
  static F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  static F fnma(F a, F b, F c) { return _mm512_fnmadd_ps(a, b, c); }
  static F max(F a, F b) { return _mm512_max_ps(a, b); }
  static F min(F a, F b) { return _mm512_min_ps(a, b); }
  static F abs(F a) { return _mm512_andnot_ps(_mm512_set1_ps(-0.0f), a); }
  static F negate(F a) { return _mm512_xor_ps(_mm512_set1_ps(-0.0f), a); }
  static float fold(F a) {
    const __m256 v8 = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    const __m128 v4 = _mm_add_ps(_mm256_castps256_ps128(v8), _mm256_extractf128_ps(v8, 1));
    const __m128 v2 = _mm_add_ps(v4, _mm_movehl_ps(v4, v4));
    return _mm_cvtss_f32(_mm_add_ss(v2, _mm_shuffle_ps(v2, v2, 1)));
  }
  static float fold_max(F a) { return _mm512_reduce_max_ps(a); }
  // The first n lanes of a, v in the others.
  static F first_lanes(F a, uint32_t n, F v) {
    return n >= 16 ? a : _mm512_mask_blend_ps(static_cast<__mmask16>((1u << n) - 1u), v, a);
  }
  static F load_f16(const uint8_t* p) { return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))); }
  static F load_bf16(const uint8_t* p) {
    const __m512i h = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
    return _mm512_castsi512_ps(_mm512_slli_epi32(h, 16));
  }

  static I izero() { return I{}; }
  static I iset1(int32_t v) { return (I)_mm512_set1_epi32(v); }
  static I load_i(const int32_t* p) { return (I)_mm512_loadu_si512(p); }
  static I iadd(I a, I b) { return a + b; }
  static I isub(I a, I b) { return a - b; }
  static F to_float(I a) { return _mm512_cvtepi32_ps((__m512i)a); }
  static I to_int(F a) { return (I)_mm512_cvtps_epi32(a); }  // round to nearest even
  static F power_of_two(F n) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127)), 23));
  }
  static F round(F a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  static void store_s8(int8_t* p, I a) { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8((__m512i)a)); }
  static int32_t ifold(I a) { return _mm512_reduce_add_epi32((__m512i)a); }

  static W load_w(const uint8_t* p) { return _mm512_loadu_si512(p); }
  static W load_signed(const uint8_t* p) { return _mm512_xor_si512(load_w(p), _mm512_set1_epi8(-128)); }
  static void pin(W& w) { asm("" : "+v"(w)); }  // in a register: GCC 12 would load it again for each use
  static void store_w(uint8_t* p, W w) { _mm512_storeu_si512(p, w); }
  static void prefetch(const uint8_t* p) { _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T0); }
  static W low_nibbles(W w) { return _mm512_and_si512(w, _mm512_set1_epi8(15)); }
  static W high_nibbles(W w) { return _mm512_and_si512(_mm512_srli_epi16(w, 4), _mm512_set1_epi8(15)); }

  // Sub-scales and offsets of one group of q4z, spread over the four bytes of each row.
  struct Group {
    W scale;   // uint16 [16][2], both s
    W offset;  // int8 [16][4], all z, + 128
  };
  // Byte `g` of each row's four, on all four.
  static W spread_byte(W v, uint32_t g) {
    return _mm512_shuffle_epi8(v, _mm512_add_epi32(_mm512_set4_epi32(0x0c0c0c0c, 0x08080808, 0x04040404, 0),
                                                   _mm512_set1_epi32(static_cast<int>(0x01010101u * g))));
  }
  static Group load_group(const uint8_t* sub_scales, const uint8_t* offsets, uint32_t groups, uint32_t g) {
    __m512i s;
    if (groups == 8) {
      s = _mm512_loadu_si512(sub_scales);
    } else {
      s = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(sub_scales)));
    }
    s = _mm512_and_si512(_mm512_srl_epi32(s, _mm_cvtsi32_si128(static_cast<int>(4 * g))), _mm512_set1_epi32(15));
    s = _mm512_add_epi32(s, _mm512_set1_epi32(1));
    s = _mm512_or_si512(s, _mm512_slli_epi32(s, 16));
    return {s, spread_byte(load_signed(offsets + size_t{g / 4} * 64), g % 4)};
  }
  // The same of all groups of a block: bytes of s for even and for odd groups, z + 128 for the first four and the others. Then a
  // group takes two shuffles, where it takes a dozen instructions by itself.
  struct BlockGroups {
    W scales[2], offsets[2];
  };
  static BlockGroups load_groups(const uint8_t* sub_scales, const uint8_t* offsets, uint32_t groups) {
    const __m512i s = groups == 8 ? load_w(sub_scales)
                                  : _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(sub_scales)));
    const __m512i one = _mm512_set1_epi8(1);
    return {{_mm512_add_epi8(low_nibbles(s), one), _mm512_add_epi8(high_nibbles(s), one)},
            {load_signed(offsets), groups == 8 ? load_signed(offsets + 64) : _mm512_setzero_si512()}};
  }
  static Group group_of(const BlockGroups& b, uint32_t g) {
    return {_mm512_shuffle_epi8(b.scales[g % 2], load_w(kSelect.scale[g / 2])),
            _mm512_shuffle_epi8(b.offsets[g / 4], load_w(kSelect.offset[g % 4]))};
  }
  static W scale_nibbles(W q, const Group& g) { return _mm512_add_epi8(_mm512_mullo_epi16(q, g.scale), g.offset); }

  // q6z: the low six bits of each byte, and what the two bits above them in three vectors make together.
  static W low_six(W w) { return _mm512_and_si512(w, _mm512_set1_epi8(63)); }
  static W high_pairs(W a, W b, W c) {
    constexpr int kSelect = 0xca;  // first ? second : third, bit by bit: what shifts bring in from the next byte falls away
    const __m512i bc = _mm512_ternarylogic_epi32(_mm512_set1_epi8(-64), c, _mm512_srli_epi16(b, 2), kSelect);
    const __m512i abc = _mm512_ternarylogic_epi32(_mm512_set1_epi8(-16), bc, _mm512_srli_epi16(a, 4), kSelect);
    return low_six(_mm512_srli_epi16(abc, 2));
  }
  // Group g, in 0..3, of a vector of s - 1 + 4 c; the offset is (4 - s) c - 128 + bias.
  template <int32_t bias>
  static Group load_group_q6(const uint8_t* bytes, uint32_t g) {
    const __m512i sc = spread_byte(load_w(bytes), g);
    const __m512i less = _mm512_and_si512(sc, _mm512_set1_epi16(3)), c = low_six(_mm512_srli_epi16(sc, 2));
    const __m512i centre = _mm512_mullo_epi16(c, _mm512_sub_epi16(_mm512_set1_epi16(3), less));
    return {_mm512_add_epi16(less, _mm512_set1_epi16(1)), _mm512_add_epi8(centre, _mm512_set1_epi8(bias - 128))};
  }

  // acc += sum over 4 k of w * a, a being four int8 of one token.
  static I dot_signed(I acc, W w, const int8_t* a) { return dot_nibbles(acc, w, a); }
  static I dot_nibbles(I acc, W w, const int8_t* a) {
    int32_t quad;
    __builtin_memcpy(&quad, a, 4);
    return (I)_mm512_dpbusd_epi32((__m512i)acc, w, _mm512_set1_epi32(quad));
  }

  static void prefetch_far(const uint8_t* p) { _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T1); }  // into L2
  // a * 2^n for an integer n; the result is a normal number.
  static F times_power_of_two(F a, F n) { return _mm512_scalef_ps(a, n); }
  // 64 weights of 14 bits as bytes: their high and their low seven bits.
  static void store_weights(uint8_t* high, uint8_t* low, const I* w) {
    store_bytes(high, w[0] >> 7, w[1] >> 7, w[2] >> 7, w[3] >> 7);
    store_bytes(low, w[0] & 127, w[1] & 127, w[2] & 127, w[3] & 127);
  }
  // Packing works in 128-bit lanes: it leaves quads of bytes whole but in another order.
  static void store_bytes(uint8_t* p, I a, I b, I c, I d) {
    const __m512i bytes =
        _mm512_packus_epi16(_mm512_packs_epi32((__m512i)a, (__m512i)b), _mm512_packs_epi32((__m512i)c, (__m512i)d));
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    _mm512_storeu_si512(p, _mm512_permutexvar_epi32(order, bytes));
  }
  // acc += sum over 4 tokens of v * p, v being int8 [16][4], p four weights in 0..127.
  static I dot_weights(I acc, W v, const uint8_t* p) {
    int32_t quad;
    __builtin_memcpy(&quad, p, 4);
    return (I)_mm512_dpbusd_epi32((__m512i)acc, _mm512_set1_epi32(quad), v);
  }
  static I join_weights(I high, I low) { return (high << 7) + low; }
};

}  // namespace
}  // namespace q3e
