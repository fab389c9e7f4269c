// The AVX2 vocabulary of the SIMD kernels: 16 lanes in two registers. See simd_avx512.h for what each word means.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace q3e {
namespace {

struct Avx2 {
  struct F {
    __m256 lo, hi;
  };
  struct I {
    __v8si lo, hi;  // see simd_avx512.h
  };
  struct W {
    __m256i lo, hi;  // int8 or uint8 [16 rows][4 k]
  };

  // A matmul of up to kDirectMost tokens takes weights straight from memory to the dot products, for kDirectTokens at a time.
  static constexpr uint32_t kDirectTokens = 4, kDirectMost = 4;
  static constexpr bool kTwoPanels = false;  // registers allow two panels at once
  static constexpr int kTileTokens = 3, kTilePanels = 1;
  static constexpr int kStripTokens = 2;
  static constexpr int kTileRows = 2, kTileVectors = 2;
  static constexpr int kDeltaVectors = 1;  // of columns of a delta net's state at once
  static constexpr int32_t kSignedBias = 0;

  static F zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
  static F set1(float v) { return {_mm256_set1_ps(v), _mm256_set1_ps(v)}; }
  static F load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
  static void store(float* p, F v) {
    _mm256_storeu_ps(p, v.lo);
    _mm256_storeu_ps(p + 8, v.hi);
  }
  static F add(F a, F b) { return {_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)}; }
  static F sub(F a, F b) { return {_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)}; }
  static F mul(F a, F b) { return {_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)}; }
  static F div(F a, F b) { return {_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi)}; }
  static F fma(F a, F b, F c) { return {_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)}; }
  static F fnma(F a, F b, F c) { return {_mm256_fnmadd_ps(a.lo, b.lo, c.lo), _mm256_fnmadd_ps(a.hi, b.hi, c.hi)}; }
  static F max(F a, F b) { return {_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi)}; }
  static F min(F a, F b) { return {_mm256_min_ps(a.lo, b.lo), _mm256_min_ps(a.hi, b.hi)}; }
  static F abs(F a) {
    const __m256 sign = _mm256_set1_ps(-0.0f);
    return {_mm256_andnot_ps(sign, a.lo), _mm256_andnot_ps(sign, a.hi)};
  }
  static F negate(F a) {
    const __m256 sign = _mm256_set1_ps(-0.0f);
    return {_mm256_xor_ps(sign, a.lo), _mm256_xor_ps(sign, a.hi)};
  }
  static float fold(F a) {
    const __m256 v8 = _mm256_add_ps(a.lo, a.hi);
    const __m128 v4 = _mm_add_ps(_mm256_castps256_ps128(v8), _mm256_extractf128_ps(v8, 1));
    const __m128 v2 = _mm_add_ps(v4, _mm_movehl_ps(v4, v4));
    return _mm_cvtss_f32(_mm_add_ss(v2, _mm_shuffle_ps(v2, v2, 1)));
  }
  static float fold_max(F a) {
    const __m256 v8 = _mm256_max_ps(a.lo, a.hi);
    const __m128 v4 = _mm_max_ps(_mm256_castps256_ps128(v8), _mm256_extractf128_ps(v8, 1));
    const __m128 v2 = _mm_max_ps(v4, _mm_movehl_ps(v4, v4));
    return _mm_cvtss_f32(_mm_max_ss(v2, _mm_shuffle_ps(v2, v2, 1)));
  }
  static F first_lanes(F a, uint32_t n, F v) {
    const __m256i count = _mm256_set1_epi32(static_cast<int>(n)), lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const __m256 lo = _mm256_castsi256_ps(_mm256_cmpgt_epi32(count, lanes));
    const __m256 hi = _mm256_castsi256_ps(_mm256_cmpgt_epi32(count, _mm256_add_epi32(lanes, _mm256_set1_epi32(8))));
    return {_mm256_blendv_ps(v.lo, a.lo, lo), _mm256_blendv_ps(v.hi, a.hi, hi)};
  }
  static __m128i load128(const uint8_t* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); }
  static __m256i load256(const uint8_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
  static F load_f16(const uint8_t* p) { return {_mm256_cvtph_ps(load128(p)), _mm256_cvtph_ps(load128(p + 16))}; }
  static F load_bf16(const uint8_t* p) {
    return {_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(load128(p)), 16)),
            _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(load128(p + 16)), 16))};
  }
  static I izero() { return {__v8si{}, __v8si{}}; }
  static I iset1(int32_t v) { return {(__v8si)_mm256_set1_epi32(v), (__v8si)_mm256_set1_epi32(v)}; }
  static I load_i(const int32_t* p) {
    const W w = load_w(reinterpret_cast<const uint8_t*>(p));
    return {(__v8si)w.lo, (__v8si)w.hi};
  }
  static I iadd(I a, I b) { return {a.lo + b.lo, a.hi + b.hi}; }
  static I isub(I a, I b) { return {a.lo - b.lo, a.hi - b.hi}; }
  static F to_float(I a) { return {_mm256_cvtepi32_ps((__m256i)a.lo), _mm256_cvtepi32_ps((__m256i)a.hi)}; }
  static I to_int(F a) { return {(__v8si)_mm256_cvtps_epi32(a.lo), (__v8si)_mm256_cvtps_epi32(a.hi)}; }
  static F power_of_two(F n) {
    const I i = iadd(to_int(n), iset1(127));
    return {(__m256)(i.lo << 23), (__m256)(i.hi << 23)};
  }
  static F round(F a) {
    return {_mm256_round_ps(a.lo, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC),
            _mm256_round_ps(a.hi, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
  }
  static void store_s8(int8_t* p, I a) {
    const __m128i lo = _mm_packs_epi32(_mm256_castsi256_si128((__m256i)a.lo), _mm256_extracti128_si256((__m256i)a.lo, 1));
    const __m128i hi = _mm_packs_epi32(_mm256_castsi256_si128((__m256i)a.hi), _mm256_extracti128_si256((__m256i)a.hi, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm_packs_epi16(lo, hi));
  }
  static int32_t ifold(I a) {
    const __m256i v8 = (__m256i)(a.lo + a.hi);
    const __m128i v4 = _mm_add_epi32(_mm256_castsi256_si128(v8), _mm256_extracti128_si256(v8, 1));
    const __m128i v2 = _mm_add_epi32(v4, _mm_unpackhi_epi64(v4, v4));
    return _mm_cvtsi128_si32(_mm_add_epi32(v2, _mm_shuffle_epi32(v2, 1)));
  }

  static W load_w(const uint8_t* p) { return {load256(p), load256(p + 32)}; }
  static W load_signed(const uint8_t* p) { return load_w(p); }
  static void pin(W& w) { asm("" : "+x"(w.lo), "+x"(w.hi)); }  // in registers: GCC 12 would load them again for each use
  static void store_w(uint8_t* p, W w) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), w.lo);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p + 32), w.hi);
  }
  static void prefetch(const uint8_t* p) { _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T0); }
  static W low_nibbles(W w) {
    const __m256i mask = _mm256_set1_epi8(15);
    return {_mm256_and_si256(w.lo, mask), _mm256_and_si256(w.hi, mask)};
  }
  static W high_nibbles(W w) { return low_nibbles({_mm256_srli_epi16(w.lo, 4), _mm256_srli_epi16(w.hi, 4)}); }

  // For `vpshufb`: byte `g` of each row's four, on all four.
  static __m256i row_bytes(uint32_t g) {
    return _mm256_add_epi32(_mm256_setr_epi32(0, 0x04040404, 0x08080808, 0x0c0c0c0c, 0, 0x04040404, 0x08080808, 0x0c0c0c0c),
                            _mm256_set1_epi32(static_cast<int>(0x01010101u * g)));
  }
  struct Group {
    W scale, offset;
  };
  static Group load_group(const uint8_t* sub_scales, const uint8_t* offsets, uint32_t groups, uint32_t g) {
    W s;
    if (groups == 8) {
      s = load_w(sub_scales);
    } else {
      s = {_mm256_cvtepu16_epi32(load128(sub_scales)), _mm256_cvtepu16_epi32(load128(sub_scales + 16))};
    }
    const __m128i shift = _mm_cvtsi32_si128(static_cast<int>(4 * g));
    const __m256i nibble = _mm256_set1_epi32(15), one = _mm256_set1_epi32(1);
    const __m256i select = row_bytes(g % 4);
    const W z = load_w(offsets + size_t{g / 4} * 64);
    const auto spread = [&](__m256i v) {
      v = _mm256_add_epi32(_mm256_and_si256(_mm256_srl_epi32(v, shift), nibble), one);
      return _mm256_or_si256(v, _mm256_slli_epi32(v, 16));
    };
    return {{spread(s.lo), spread(s.hi)}, {_mm256_shuffle_epi8(z.lo, select), _mm256_shuffle_epi8(z.hi, select)}};
  }
  static W scale_nibbles(W q, const Group& g) {
    return {_mm256_add_epi8(_mm256_mullo_epi16(q.lo, g.scale.lo), g.offset.lo),
            _mm256_add_epi8(_mm256_mullo_epi16(q.hi, g.scale.hi), g.offset.hi)};
  }

  static W low_six(W w) {
    const __m256i mask = _mm256_set1_epi8(63);
    return {_mm256_and_si256(w.lo, mask), _mm256_and_si256(w.hi, mask)};
  }
  static __m256i high_pairs(__m256i a, __m256i b, __m256i c) {
    const __m256i mask = _mm256_set1_epi8(-64);
    const __m256i low = _mm256_srli_epi16(_mm256_and_si256(a, mask), 6), mid = _mm256_srli_epi16(_mm256_and_si256(b, mask), 4);
    return _mm256_or_si256(_mm256_or_si256(low, mid), _mm256_srli_epi16(_mm256_and_si256(c, mask), 2));
  }
  static W high_pairs(W a, W b, W c) { return {high_pairs(a.lo, b.lo, c.lo), high_pairs(a.hi, b.hi, c.hi)}; }
  template <int32_t bias>
  static Group load_group_q6(const uint8_t* bytes, uint32_t g) {
    const __m256i select = row_bytes(g);
    const W sc = load_w(bytes);
    const __m256i three = _mm256_set1_epi16(3), one = _mm256_set1_epi16(1), mask = _mm256_set1_epi8(63);
    Group group;
    const auto spread = [&](__m256i v, __m256i& scale, __m256i& offset) {
      v = _mm256_shuffle_epi8(v, select);
      const __m256i less = _mm256_and_si256(v, three), c = _mm256_and_si256(_mm256_srli_epi16(v, 2), mask);
      scale = _mm256_add_epi16(less, one);
      offset = _mm256_add_epi8(_mm256_mullo_epi16(c, _mm256_sub_epi16(three, less)), _mm256_set1_epi8(bias - 128));
    };
    spread(sc.lo, group.scale.lo, group.offset.lo);
    spread(sc.hi, group.scale.hi, group.offset.hi);
    return group;
  }

  static __m256i broadcast(const int8_t* a) {
    int32_t quad;
    __builtin_memcpy(&quad, a, 4);
    return _mm256_set1_epi32(quad);
  }
  // The sum of 32 int8.
  static int32_t sum_run(const int8_t* a) {
    const __m256i v = _mm256_xor_si256(load256(reinterpret_cast<const uint8_t*>(a)), _mm256_set1_epi8(-128));
    const __m256i s4 = _mm256_sad_epu8(v, _mm256_setzero_si256());
    const __m128i s2 = _mm_add_epi32(_mm256_castsi256_si128(s4), _mm256_extracti128_si256(s4, 1));
    return _mm_cvtsi128_si32(_mm_add_epi32(s2, _mm_unpackhi_epi64(s2, s2))) - 128 * 32;
  }
  // |w| * sign(a, w): at most 128 * 127 * 2, so maddubs cannot saturate; a is in -127..127.
  static __v8si madd_signed(__v8si acc, __m256i w, __m256i a) {
    const __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(a, w));
    return acc + (__v8si)_mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
  }
  static I dot_signed(I acc, W w, const int8_t* a) {
    const __m256i v = broadcast(a);
    return {madd_signed(acc.lo, w.lo, v), madd_signed(acc.hi, w.hi, v)};
  }
  // Weights in 0..15: maddubs reaches 15 * 127 * 2 only.
  static I dot_nibbles(I acc, W w, const int8_t* a) {
    const __m256i v = broadcast(a), one = _mm256_set1_epi16(1);
    return {acc.lo + (__v8si)_mm256_madd_epi16(_mm256_maddubs_epi16(w.lo, v), one),
            acc.hi + (__v8si)_mm256_madd_epi16(_mm256_maddubs_epi16(w.hi, v), one)};
  }

  static void prefetch_far(const uint8_t* p) { _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T1); }
  static F times_power_of_two(F a, F n) { return mul(a, power_of_two(n)); }
  static void store_weights(uint8_t* high, uint8_t* low, const I* w) {
    const auto shift = [](I v) { return I{v.lo >> 7, v.hi >> 7}; };
    const auto mask = [](I v) { return I{v.lo & 127, v.hi & 127}; };
    store_bytes(high, shift(w[0]), shift(w[1]));
    store_bytes(high + 32, shift(w[2]), shift(w[3]));
    store_bytes(low, mask(w[0]), mask(w[1]));
    store_bytes(low + 32, mask(w[2]), mask(w[3]));
  }
  // Packing works in 128-bit lanes: it leaves quads of bytes whole but in another order.
  static void store_bytes(uint8_t* p, I a, I b) {
    const __m256i bytes =
        _mm256_packus_epi16(_mm256_packs_epi32((__m256i)a.lo, (__m256i)a.hi), _mm256_packs_epi32((__m256i)b.lo, (__m256i)b.hi));
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm256_permutevar8x32_epi32(bytes, order));
  }
  // Weights in 0..127: maddubs reaches 127 * 128 * 2 only.
  static I dot_weights(I acc, W v, const uint8_t* p) {
    const __m256i quad = broadcast(reinterpret_cast<const int8_t*>(p)), one = _mm256_set1_epi16(1);
    return {acc.lo + (__v8si)_mm256_madd_epi16(_mm256_maddubs_epi16(quad, v.lo), one),
            acc.hi + (__v8si)_mm256_madd_epi16(_mm256_maddubs_epi16(quad, v.hi), one)};
  }
  static I join_weights(I high, I low) { return {(high.lo << 7) + low.lo, (high.hi << 7) + low.hi}; }
};

}  // namespace
}  // namespace q3e
