// The vocabulary of 64-bit Arm as every such processor has it (Armv8.0): 16 lanes in four registers. See simd_avx512.h for what
// each word means.
#pragma once

#include <arm_neon.h>

#include <cstddef>
#include <cstdint>

namespace q3e {
namespace {

struct Neon {
  // Members, not arrays: GCC 12 keeps arrays of vectors in memory.
  template <class V>
  struct Four {
    V a, b, c, d;
  };
  using F = Four<float32x4_t>;
  using I = Four<int32x4_t>;
  using W = Four<uint8x16_t>;  // int8 or uint8 [16 rows][4 k]

  // 32 registers: a panel's weights take four, a token's sums of it four.
  static constexpr uint32_t kDirectTokens = 2, kDirectMost = 4;
  static constexpr bool kTwoPanels = false;
  static constexpr int kTileTokens = 6, kTilePanels = 1;
  static constexpr int kStripTokens = 3;
  static constexpr int kTileRows = 2, kTileVectors = 2;
  static constexpr int kDeltaVectors = 1;  // of columns of a delta net's state at once
  static constexpr int32_t kSignedBias = 0;

  template <class V, class Fn>
  [[gnu::always_inline]] static auto each(const Four<V>& x, Fn&& f) -> Four<decltype(f(x.a))> {
    return {f(x.a), f(x.b), f(x.c), f(x.d)};
  }
  template <class V, class U, class Fn>
  [[gnu::always_inline]] static auto each(const Four<V>& x, const Four<U>& y, Fn&& f) -> Four<decltype(f(x.a, y.a))> {
    return {f(x.a, y.a), f(x.b, y.b), f(x.c, y.c), f(x.d, y.d)};
  }
  template <class V>
  static Four<V> four(V v) {
    return {v, v, v, v};
  }

  static F zero() { return set1(0); }
  static F set1(float v) { return four(vdupq_n_f32(v)); }
  static F load(const float* p) { return {vld1q_f32(p), vld1q_f32(p + 4), vld1q_f32(p + 8), vld1q_f32(p + 12)}; }
  static void store(float* p, F v) {
    vst1q_f32(p, v.a);
    vst1q_f32(p + 4, v.b);
    vst1q_f32(p + 8, v.c);
    vst1q_f32(p + 12, v.d);
  }
  static F add(F x, F y) {
    return each(x, y, [](float32x4_t a, float32x4_t b) { return vaddq_f32(a, b); });
  }
  static F sub(F x, F y) {
    return each(x, y, [](float32x4_t a, float32x4_t b) { return vsubq_f32(a, b); });
  }
  static F mul(F x, F y) {
    return each(x, y, [](float32x4_t a, float32x4_t b) { return vmulq_f32(a, b); });
  }
  static F div(F x, F y) {
    return each(x, y, [](float32x4_t a, float32x4_t b) { return vdivq_f32(a, b); });
  }
  static F fma(F x, F y, F z) {
    return {vfmaq_f32(z.a, x.a, y.a), vfmaq_f32(z.b, x.b, y.b), vfmaq_f32(z.c, x.c, y.c), vfmaq_f32(z.d, x.d, y.d)};
  }
  static F fnma(F x, F y, F z) {
    return {vfmsq_f32(z.a, x.a, y.a), vfmsq_f32(z.b, x.b, y.b), vfmsq_f32(z.c, x.c, y.c), vfmsq_f32(z.d, x.d, y.d)};
  }
  // As x86: the second one when either is NaN.
  static F max(F x, F y) {
    return each(x, y, [](float32x4_t a, float32x4_t b) { return vbslq_f32(vcgtq_f32(a, b), a, b); });
  }
  static F min(F x, F y) {
    return each(x, y, [](float32x4_t a, float32x4_t b) { return vbslq_f32(vcltq_f32(a, b), a, b); });
  }
  static F abs(F x) {
    return each(x, [](float32x4_t a) { return vabsq_f32(a); });
  }
  static F negate(F x) {
    return each(x, [](float32x4_t a) { return vnegq_f32(a); });
  }
  static float fold(F x) {
    const float32x4_t v4 = vaddq_f32(vaddq_f32(x.a, x.c), vaddq_f32(x.b, x.d));
    const float32x2_t v2 = vadd_f32(vget_low_f32(v4), vget_high_f32(v4));
    return vget_lane_f32(v2, 0) + vget_lane_f32(v2, 1);
  }
  static float fold_max(F x) { return vmaxvq_f32(vmaxq_f32(vmaxq_f32(x.a, x.b), vmaxq_f32(x.c, x.d))); }
  static F first_lanes(F x, uint32_t n, F v) {
    static constexpr uint32_t kLanes[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    const uint32x4_t count = vdupq_n_u32(n);
    const auto choose = [&](uint32_t lane, float32x4_t a, float32x4_t b) {
      return vbslq_f32(vcltq_u32(vld1q_u32(kLanes + lane), count), a, b);
    };
    return {choose(0, x.a, v.a), choose(4, x.b, v.b), choose(8, x.c, v.c), choose(12, x.d, v.d)};
  }
  static Four<uint16x4_t> load_u16(const uint8_t* p) {
    const uint8x16_t low = vld1q_u8(p), high = vld1q_u8(p + 16);
    const uint16x8_t a = vreinterpretq_u16_u8(low), b = vreinterpretq_u16_u8(high);
    return {vget_low_u16(a), vget_high_u16(a), vget_low_u16(b), vget_high_u16(b)};
  }
  static F load_f16(const uint8_t* p) {
    return each(load_u16(p), [](uint16x4_t h) { return vcvt_f32_f16(vreinterpret_f16_u16(h)); });
  }
  static F load_bf16(const uint8_t* p) {
    return each(load_u16(p), [](uint16x4_t h) { return vreinterpretq_f32_u32(vshll_n_u16(h, 16)); });
  }

  static I izero() { return iset1(0); }
  static I iset1(int32_t v) { return four(vdupq_n_s32(v)); }
  static I load_i(const int32_t* p) { return {vld1q_s32(p), vld1q_s32(p + 4), vld1q_s32(p + 8), vld1q_s32(p + 12)}; }
  static I iadd(I x, I y) {
    return each(x, y, [](int32x4_t a, int32x4_t b) { return vaddq_s32(a, b); });
  }
  static I isub(I x, I y) {
    return each(x, y, [](int32x4_t a, int32x4_t b) { return vsubq_s32(a, b); });
  }
  static F to_float(I x) {
    return each(x, [](int32x4_t a) { return vcvtq_f32_s32(a); });
  }
  static I to_int(F x) {
    return each(x, [](float32x4_t a) { return vcvtnq_s32_f32(a); });
  }
  static F power_of_two(F n) {
    return each(to_int(n), [](int32x4_t a) { return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(a, vdupq_n_s32(127)), 23)); });
  }
  static F round(F x) {
    return each(x, [](float32x4_t a) { return vrndnq_f32(a); });
  }
  static int8x16_t narrow(I x) {
    const int16x8_t low = vcombine_s16(vmovn_s32(x.a), vmovn_s32(x.b)), high = vcombine_s16(vmovn_s32(x.c), vmovn_s32(x.d));
    return vcombine_s8(vmovn_s16(low), vmovn_s16(high));
  }
  static void store_s8(int8_t* p, I x) { vst1q_s8(p, narrow(x)); }
  static int32_t ifold(I x) { return vaddvq_s32(vaddq_s32(vaddq_s32(x.a, x.b), vaddq_s32(x.c, x.d))); }

  static W load_w(const uint8_t* p) { return {vld1q_u8(p), vld1q_u8(p + 16), vld1q_u8(p + 32), vld1q_u8(p + 48)}; }
  static W load_signed(const uint8_t* p) { return load_w(p); }
  static void pin(W& w) { asm("" : "+w"(w.a), "+w"(w.b), "+w"(w.c), "+w"(w.d)); }
  static void store_w(uint8_t* p, W w) {
    vst1q_u8(p, w.a);
    vst1q_u8(p + 16, w.b);
    vst1q_u8(p + 32, w.c);
    vst1q_u8(p + 48, w.d);
  }
  static void prefetch(const uint8_t* p) { __builtin_prefetch(p, 0, 3); }
  static void prefetch_far(const uint8_t* p) { __builtin_prefetch(p, 0, 2); }  // into L2
  static W low_nibbles(W w) {
    return each(w, [](uint8x16_t v) { return vandq_u8(v, vdupq_n_u8(15)); });
  }
  static W high_nibbles(W w) {
    return each(w, [](uint8x16_t v) { return vshrq_n_u8(v, 4); });
  }

  // A row's s and z on all four of its bytes: one multiply-add of bytes makes w8, as only its low eight bits count.
  struct Group {
    W scale, offset;
  };
  // Byte `g` of each row's four, on all four.
  static W spread_byte(W v, uint32_t g) {
    static constexpr uint8_t kRows[16] = {0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12};
    const uint8x16_t select = vaddq_u8(vld1q_u8(kRows), vdupq_n_u8(static_cast<uint8_t>(g)));
    return each(v, [&](uint8x16_t x) { return vqtbl1q_u8(x, select); });
  }
  static Group load_group(const uint8_t* sub_scales, const uint8_t* offsets, uint32_t groups, uint32_t g) {
    const int32x4_t shift = vdupq_n_s32(-static_cast<int32_t>(4 * g));
    const auto scale = [&](uint32x4_t v) {
      v = vaddq_u32(vandq_u32(vshlq_u32(v, shift), vdupq_n_u32(15)), vdupq_n_u32(1));
      return vreinterpretq_u8_u32(vmulq_n_u32(v, 0x01010101u));
    };
    W s;
    if (groups == 8)
      s = each(load_w(sub_scales), [&](uint8x16_t v) { return scale(vreinterpretq_u32_u8(v)); });
    else
      s = each(load_u16(sub_scales), [&](uint16x4_t v) { return scale(vmovl_u16(v)); });
    return {s, spread_byte(load_w(offsets + size_t{g / 4} * 64), g % 4)};
  }
  static W scale_nibbles(W q, const Group& g) {
    return {vmlaq_u8(g.offset.a, q.a, g.scale.a), vmlaq_u8(g.offset.b, q.b, g.scale.b), vmlaq_u8(g.offset.c, q.c, g.scale.c),
            vmlaq_u8(g.offset.d, q.d, g.scale.d)};
  }

  static W low_six(W w) {
    return each(w, [](uint8x16_t v) { return vandq_u8(v, vdupq_n_u8(63)); });
  }
  static W high_pairs(W x, W y, W z) {
    const auto pairs = [](uint8x16_t a, uint8x16_t b, uint8x16_t c) {
      return vshrq_n_u8(vsriq_n_u8(vsriq_n_u8(c, b, 2), a, 4), 2);
    };
    return {pairs(x.a, y.a, z.a), pairs(x.b, y.b, z.b), pairs(x.c, y.c, z.c), pairs(x.d, y.d, z.d)};
  }
  template <int32_t bias>
  static Group load_group_q6(const uint8_t* bytes, uint32_t g) {
    const W sc = spread_byte(load_w(bytes), g);
    const uint8x16_t three = vdupq_n_u8(3), middle = vdupq_n_u8(static_cast<uint8_t>(bias - 128));
    return {each(sc, [&](uint8x16_t v) { return vaddq_u8(vandq_u8(v, three), vdupq_n_u8(1)); }),
            each(sc, [&](uint8x16_t v) { return vmlaq_u8(middle, vshrq_n_u8(v, 2), vsubq_u8(three, vandq_u8(v, three))); })};
  }

  // A quad of k, four times.
  static int8x16_t broadcast(const int8_t* quad) {
    int32_t bits;
    __builtin_memcpy(&bits, quad, 4);
    return vreinterpretq_s8_s32(vdupq_n_s32(bits));
  }
  // Two products of int8 fit int16: 2 * 128 * 127.
  static I dot_signed(I acc, W w, const int8_t* quad) {
    const int8x16_t v = broadcast(quad);
    return each(acc, w, [&](int32x4_t sum, uint8x16_t x) {
      const int8x16_t y = vreinterpretq_s8_u8(x);
      const int16x8_t low = vmull_s8(vget_low_s8(y), vget_low_s8(v)), high = vmull_high_s8(y, v);
      return vpadalq_s16(sum, vpaddq_s16(low, high));
    });
  }
  // Nibbles and weights of attention (0..127) are int8 as well.
  static I dot_nibbles(I acc, W w, const int8_t* quad) { return dot_signed(acc, w, quad); }
  static I dot_weights(I acc, W v, const uint8_t* p) { return dot_signed(acc, v, reinterpret_cast<const int8_t*>(p)); }

  static F times_power_of_two(F x, F n) { return mul(x, power_of_two(n)); }
  static void store_weights(uint8_t* high, uint8_t* low, const I* w) {
    for (uint32_t j = 0; j < 4; ++j) {
      vst1q_u8(high + j * 16, vreinterpretq_u8_s8(narrow(each(w[j], [](int32x4_t a) { return vshrq_n_s32(a, 7); }))));
      vst1q_u8(low + j * 16, vreinterpretq_u8_s8(narrow(each(w[j], [](int32x4_t a) { return vandq_s32(a, vdupq_n_s32(127)); }))));
    }
  }
  static I join_weights(I x, I y) {
    return each(x, y, [](int32x4_t high, int32x4_t low) { return vaddq_s32(vshlq_n_s32(high, 7), low); });
  }
};

}  // namespace
}  // namespace q3e
