// The vocabulary of RISC-V's vectors (RVV 1.0). See simd_avx512.h for what each word means.
//
// 16 lanes are a vector of 16 to the compiler, which asks the machine for 16 lanes of 32 bits whatever the length of its
// registers: four of 128 bits, or a part of one of 512. So a lane's place never depends on the machine, and neither does a bit.
// There is no dot product: a quad of k lies in four planes, and a plane is multiplied with one scalar.
#pragma once

#include <cstddef>
#include <cstdint>

namespace q3e {
namespace {

struct Rvv {
  typedef float F __attribute__((vector_size(64)));
  typedef int32_t I __attribute__((vector_size(64)));
  typedef uint32_t Words __attribute__((vector_size(64)));
  typedef int16_t Halves __attribute__((vector_size(32)));
  typedef uint16_t HalfWords __attribute__((vector_size(32)));
  typedef uint8_t Bytes __attribute__((vector_size(16)));
  typedef int8_t SignedBytes __attribute__((vector_size(16)));
  struct W {
    Bytes a, b, c, d;  // int8 or uint8 [4 k][16 rows]
  };

  // 16 lanes are four of 32 registers where these have 128 bits.
  static constexpr uint32_t kDirectTokens = 2, kDirectMost = 4;
  static constexpr bool kTwoPanels = false;
  static constexpr int kTileTokens = 4, kTilePanels = 1;
  static constexpr int kStripTokens = 2;
  static constexpr int kTileRows = 2, kTileVectors = 2;
  static constexpr int kDeltaVectors = 1;  // of columns of a delta net's state at once
  static constexpr int32_t kSignedBias = 0;

  template <class V>
  static V load_as(const void* p) {
    typedef V Anywhere __attribute__((aligned(sizeof(V) / 16), may_alias));  // no more than its elements need
    return *static_cast<const Anywhere*>(p);
  }
  template <class V>
  static void store_as(void* p, V v) {
    typedef V Anywhere __attribute__((aligned(sizeof(V) / 16), may_alias));
    *static_cast<Anywhere*>(p) = v;
  }

  static F zero() { return F{}; }
  static F set1(float v) { return F{v, v, v, v, v, v, v, v, v, v, v, v, v, v, v, v}; }
  static F load(const float* p) { return load_as<F>(p); }
  static void store(float* p, F v) { store_as(p, v); }
  static F add(F a, F b) { return a + b; }
  static F sub(F a, F b) { return a - b; }
  static F mul(F a, F b) { return a * b; }
  static F div(F a, F b) { return a / b; }
  static F fma(F a, F b, F c) { return __builtin_elementwise_fma(a, b, c); }
  static F fnma(F a, F b, F c) { return __builtin_elementwise_fma(-a, b, c); }
  // As x86: the second one when either is NaN.
  static F max(F a, F b) { return a > b ? a : b; }
  static F min(F a, F b) { return a < b ? a : b; }
  static F abs(F a) { return (F)((Words)a & 0x7fffffffu); }
  static F negate(F a) { return -a; }
  typedef float F8 __attribute__((vector_size(32)));
  typedef float F4 __attribute__((vector_size(16)));
  static float fold(F a) {
    const F8 v8 =
        __builtin_shufflevector(a, a, 0, 1, 2, 3, 4, 5, 6, 7) + __builtin_shufflevector(a, a, 8, 9, 10, 11, 12, 13, 14, 15);
    const F4 v4 = __builtin_shufflevector(v8, v8, 0, 1, 2, 3) + __builtin_shufflevector(v8, v8, 4, 5, 6, 7);
    return (v4[0] + v4[2]) + (v4[1] + v4[3]);
  }
  static float fold_max(F a) {
    const auto most = [](auto x, auto y) { return x > y ? x : y; };
    const F8 v8 = most(F8(__builtin_shufflevector(a, a, 0, 1, 2, 3, 4, 5, 6, 7)),
                       F8(__builtin_shufflevector(a, a, 8, 9, 10, 11, 12, 13, 14, 15)));
    const F4 v4 = most(F4(__builtin_shufflevector(v8, v8, 0, 1, 2, 3)), F4(__builtin_shufflevector(v8, v8, 4, 5, 6, 7)));
    return most(most(v4[0], v4[2]), most(v4[1], v4[3]));
  }
  static F first_lanes(F a, uint32_t n, F v) {
    constexpr Words kLanes = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    return kLanes < n ? a : v;
  }
  static Words load_u16(const uint8_t* p) { return __builtin_convertvector(load_as<HalfWords>(p), Words); }
  // Without Zvfh: the exponent moves by a multiplication, which takes subnormal numbers along; infinities and NaN keep theirs.
  static F load_f16(const uint8_t* p) {
    const Words h = load_u16(p), magnitude = h & 0x7fffu, sign = (h & 0x8000u) << 16;
    const Words finite = (Words)((F)(magnitude << 13) * set1(0x1p112f)), other = (magnitude << 13) | 0x7f800000u;
    return (F)((magnitude < 0x7c00u ? finite : other) | sign);
  }
  static F load_bf16(const uint8_t* p) { return (F)(load_u16(p) << 16); }

  static I izero() { return I{}; }
  static I iset1(int32_t v) { return I{v, v, v, v, v, v, v, v, v, v, v, v, v, v, v, v}; }
  static I load_i(const int32_t* p) { return load_as<I>(p); }
  static I iadd(I a, I b) { return a + b; }
  static I isub(I a, I b) { return a - b; }
  static F to_float(I a) { return __builtin_convertvector(a, F); }
  // To the nearest, to even: 1.5 * 2^23 leaves no bits of fractions. For |a| < 2^22.
  static constexpr float kUnits = 12582912.0f;
  static I to_int(F a) { return (I)(a + set1(kUnits)) - 0x4b400000; }
  static F power_of_two(F n) { return (F)((to_int(n) + 127) << 23); }
  static F round(F a) { return (a + set1(kUnits)) - set1(kUnits); }
  static Bytes narrow(Words v) { return __builtin_convertvector(v, Bytes); }
  static void store_s8(int8_t* p, I a) { store_as(p, narrow((Words)a)); }
  static int32_t ifold(I a) {
    typedef int32_t I8 __attribute__((vector_size(32)));
    typedef int32_t I4 __attribute__((vector_size(16)));
    const I8 v8 =
        __builtin_shufflevector(a, a, 0, 1, 2, 3, 4, 5, 6, 7) + __builtin_shufflevector(a, a, 8, 9, 10, 11, 12, 13, 14, 15);
    const I4 v4 = __builtin_shufflevector(v8, v8, 0, 1, 2, 3) + __builtin_shufflevector(v8, v8, 4, 5, 6, 7);
    return (v4[0] + v4[2]) + (v4[1] + v4[3]);
  }

  template <class Fn>
  [[gnu::always_inline]] static W each(const W& x, Fn&& f) {
    return {f(x.a), f(x.b), f(x.c), f(x.d)};
  }
  // Byte `g` of each row's four.
  static Bytes byte_of(const uint8_t* p, uint32_t g) { return narrow(load_as<Words>(p) >> (8 * g)); }
  static W load_w(const uint8_t* p) { return {byte_of(p, 0), byte_of(p, 1), byte_of(p, 2), byte_of(p, 3)}; }
  static W load_signed(const uint8_t* p) { return load_w(p); }
  // A strip keeps its planes as they are.
  static void store_strip(uint8_t* first, uint8_t* second, const W* v) {
    for (uint32_t i = 0; i < 2; ++i) {
      uint8_t* const to = i == 0 ? first : second;
      store_as(to, v[i].a);
      store_as(to + 16, v[i].b);
      store_as(to + 32, v[i].c);
      store_as(to + 48, v[i].d);
    }
  }
  static W load_strip(const uint8_t* p) {
    return {load_as<Bytes>(p), load_as<Bytes>(p + 16), load_as<Bytes>(p + 32), load_as<Bytes>(p + 48)};
  }
  static void prefetch(const uint8_t* p) { __builtin_prefetch(p, 0, 3); }
  static void prefetch_far(const uint8_t* p) { __builtin_prefetch(p, 0, 2); }  // into L2
  static W low_nibbles(W w) {
    return each(w, [](Bytes v) { return v & 15; });
  }
  static W high_nibbles(W w) {
    return each(w, [](Bytes v) { return v >> 4; });
  }

  // A row's s and z, for all four planes. Only the low eight bits of w8 count.
  struct Group {
    Bytes scale, offset;
  };
  static Group load_group(const uint8_t* sub_scales, const uint8_t* offsets, uint32_t groups, uint32_t g) {
    const Words s = groups == 8 ? load_as<Words>(sub_scales) : load_u16(sub_scales);
    return {narrow((s >> (4 * g) & 15u) + 1u), byte_of(offsets + size_t{g / 4} * 64, g % 4)};
  }
  static W scale_nibbles(W q, const Group& g) {
    return each(q, [&](Bytes v) { return v * g.scale + g.offset; });
  }

  static W low_six(W w) {
    return each(w, [](Bytes v) { return v & 63; });
  }
  static W high_pairs(W x, W y, W z) {
    const auto pairs = [](Bytes a, Bytes b, Bytes c) { return (a >> 6) | (b >> 6 << 2) | (c >> 6 << 4); };
    return {pairs(x.a, y.a, z.a), pairs(x.b, y.b, z.b), pairs(x.c, y.c, z.c), pairs(x.d, y.d, z.d)};
  }
  template <int32_t bias>
  static Group load_group_q6(const uint8_t* bytes, uint32_t g) {
    const Bytes sc = byte_of(bytes, g), less = sc & 3;
    return {less + 1, (sc >> 2) * (3 - less) + static_cast<uint8_t>(bias - 128)};
  }

  // A plane of a quad times its scalar. Two products of int8 fit int16: 2 * 128 * 127.
  static Halves product(Bytes w, int8_t a) { return __builtin_convertvector((SignedBytes)w, Halves) * static_cast<int16_t>(a); }
  static I dot_signed(I acc, W w, const int8_t* quad) {
    acc += __builtin_convertvector(product(w.a, quad[0]) + product(w.b, quad[1]), I);
    return acc + __builtin_convertvector(product(w.c, quad[2]) + product(w.d, quad[3]), I);
  }
  // Nibbles and weights of attention (0..127) are int8 as well.
  static I dot_nibbles(I acc, W w, const int8_t* quad) { return dot_signed(acc, w, quad); }
  static I dot_weights(I acc, W v, const uint8_t* p) { return dot_signed(acc, v, reinterpret_cast<const int8_t*>(p)); }

  static F times_power_of_two(F x, F n) { return x * power_of_two(n); }
  static void store_weights(uint8_t* high, uint8_t* low, const I* w) {
    for (uint32_t j = 0; j < 4; ++j) {
      store_as(high + j * 16, narrow((Words)(w[j] >> 7)));
      store_as(low + j * 16, narrow((Words)(w[j] & 127)));
    }
  }
  static I join_weights(I high, I low) { return (high << 7) + low; }
};

}  // namespace
}  // namespace q3e
