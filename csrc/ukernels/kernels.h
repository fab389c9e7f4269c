// The micro-kernels: what each computes, its scalar twin, and the table that holds one tier of them.
//
// Rules that keep one answer on every machine: int8 products are summed exactly in int32 within a block; across blocks one
// float32 accumulator takes fma(float(isum), d * sa, acc) in ascending k; float reductions run in 16 lanes that are folded 8 + 8,
// 4 + 4, 2 + 2, 1 + 1. Kernels never allocate, lock, log or spawn. Every tier is compared with the scalar one by ==.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/block_format.h"
#include "base/cpu_features.h"

namespace q3e {

struct MatrixView {
  const uint8_t* data = nullptr;  // panels as in docs/format.md
  const BlockFormat* format = nullptr;
  uint32_t rows = 0, columns = 0;
  PanelLayout layout{};

  uint32_t panels() const { return (rows + kPanelRows - 1) / kPanelRows; }
};

// What a matmul reads: float32 for unquantized weights, else int8 with one scale a block of the weight's format. What lies
// between columns and the next 64 may be read, but does not count.
struct Activations {
  uint32_t tokens = 0;
  uint32_t columns = 0;
  uint32_t stride = 0;             // bytes from one token's quants to the next's: at least columns, rounded up to 64
  uint32_t block = 0;              // 0: float32
  const float* values = nullptr;   // [tokens][columns]
  const int8_t* quants = nullptr;  // [tokens][stride]
  const float* scales = nullptr;   // [tokens][blocks]
  const int32_t* sums = nullptr;   // [tokens][blocks], of quants

  uint32_t blocks() const { return block ? (columns + block - 1) / block : 0; }
};

// Tokens [first, first + count) of some. Static, as all functions that files of several tiers share (no tier's code in another).
static inline Activations slice(Activations a, uint32_t first, uint32_t count) {
  a.tokens = count;
  if (a.block == 0) {
    a.values += size_t{first} * a.columns;
    return a;
  }
  a.quants += size_t{first} * a.stride;
  a.scales += size_t{first} * a.blocks();
  a.sums += size_t{first} * a.blocks();
  return a;
}

// The stride that the engine gives its buffers: an odd number of cache lines, so that the same columns of many tokens spread over
// every set of L1 instead of a few (1,024 columns lie 1,024 bytes apart: 4 sets in 64).
static inline uint32_t activation_stride(uint32_t columns) { return ((columns + 63) / 64 | 1) * 64; }

// The same buffers on their way in, of one token.
struct ActivationBuffers {
  float* values = nullptr;
  int8_t* quants = nullptr;
  float* scales = nullptr;
  int32_t* sums = nullptr;
};

inline constexpr uint32_t kGemmPanels = 4;     // panels that a matmul call takes at most
inline constexpr uint32_t kStreamTokens = 16;  // up to here a matmul is mostly a stream from memory: better many small calls
inline constexpr uint32_t kGemmTokens = 128;   // tokens that a matmul call takes at most
inline constexpr size_t kMatmulScratchBytes = size_t{2} * kGemmPanels * kPanelRows * kSuperBlock;  // two unpacked blocks of K

// out[t * out_stride + (panel - first) * 16 + r] = row r of the panel . token t, for panels [first, last), last - first <=
// kGemmPanels, tokens <= kGemmTokens. scratch: kMatmulScratchBytes, 64-byte aligned.
using MatmulFn = void(const MatrixView& w, uint32_t first, uint32_t last, const Activations& a, float* out, size_t out_stride,
                      uint8_t* scratch);
MatmulFn matmul_scalar;

// out[n] = x[n] / rms(x) * weight[n]  (Zhang & Sennrich 2019)
using RmsNormFn = void(const float* x, const float* weight, uint32_t n, float eps, float* out);
RmsNormFn rmsnorm_scalar;

// The same, then quantized as QuantizeFn does, without a float32 copy in memory.
using RmsNormQuantizeFn = void(const float* x, const float* weight, uint32_t n, float eps, uint32_t block, int8_t* quants,
                               float* scales, int32_t* sums);
RmsNormQuantizeFn rmsnorm_quantize_scalar;

// One token: quants = round-to-even(x * 127 / max|x|) a block, scale = max|x| / 127.
using QuantizeFn = void(const float* x, uint32_t n, uint32_t block, int8_t* quants, float* scales, int32_t* sums);
QuantizeFn quantize_scalar;

// out[n] = gate / (1 + exp(-gate)) * up
using SiluMulFn = void(const float* gate, const float* up, uint32_t n, float* out);
SiluMulFn silu_mul_scalar;

// The same of panels in turns, as the matrix of an expert gives them: gate_up [n / 16][2][16].
using SiluPanelsFn = void(const float* gate_up, uint32_t n, float* out);
SiluPanelsFn silu_panels_scalar;

// x[n] *= sigmoid(gate[n])
using SigmoidMulFn = void(const float* gate, uint32_t n, float* x);
SigmoidMulFn sigmoid_mul_scalar;

// x[width] *= sigmoid(a . b)
using DotGateFn = void(const float* a, const float* b, uint32_t n, float* x, uint32_t width);
DotGateFn dot_gate_scalar;

// out[n] = x[n] / rms(x) * weight[n] * silu(gate[n])
using GatedNormFn = void(const float* x, const float* weight, const float* gate, uint32_t n, float eps, float* out);
GatedNormFn gated_norm_scalar;

// x[n] *= scale / |x|
inline constexpr float kUnitEpsilon = 1e-6f;  // of |x|^2
using UnitFn = void(float* x, float scale, uint32_t n);
UnitFn unit_scalar;

// out[n] = silu(inputs[0][n] * taps[0][n] + ... + inputs[3][n] * taps[3][n]): a causal convolution of each channel by itself,
// over the inputs of the last four tokens, the oldest first. taps: [4], `stride` floats apart.
inline constexpr uint32_t kConvTaps = 4;
using ConvSiluFn = void(const float* const* inputs, const float* taps, size_t stride, uint32_t n, float* out);
ConvSiluFn conv_silu_scalar;

// What a token does to the states of n heads: decay[n] = exp(rate[n] * log(1 + exp(decay[n] + bias[n]))), which is at most 1 as
// rates are negative, and write[n] = sigmoid(write[n]).
using DeltaGatesFn = void(const float* rate, const float* bias, uint32_t n, float* decay, float* write);
DeltaGatesFn delta_gates_scalar;

// The gated delta rule (Yang et al. 2024) for some columns of a head's state S [key_size][columns], token after token:
//   u = write * (v - decay * S^T k);  v = decay * S^T q + (k . q) * u, which is S^T q of the new state;  S = decay * S + k u^T
// A column needs no other, so that any number of them may be computed together. This defines the state: the same sums for a token
// alone as for one of many.
struct DeltaTask {
  float* state;                // [columns / 16][key_size][16]
  const float *q, *k;          // [tokens][key_size]
  float* v;                    // [tokens][columns], becomes the output
  size_t stride;               // of these from token to token, in floats
  const float *decay, *write;  // [tokens]
  size_t gate_stride;
  uint32_t tokens, key_size, columns;  // columns: a multiple of kDeltaColumns
};
inline constexpr uint32_t kDeltaColumns = 32;
using DeltaFn = void(const DeltaTask& task);
DeltaFn delta_rule_scalar;

// One token's experts: softmax over all logits, then the largest `top` by (share, lowest index), descending; divided by their sum
// when normalize. logits may be read up to the next multiple of 16, which does not count. chosen, weights: [top].
inline constexpr uint32_t kMaxExperts = 512;
using RouteFn = void(const float* logits, uint32_t experts, uint32_t top, bool normalize, uint32_t* chosen, float* weights);
RouteFn route_scalar;

// x[n] += weights[0] * rows[0][n] + weights[1] * rows[1][n] + ...; the sum in this order, then the addition.
using AddWeightedFn = void(const float* const* rows, const float* weights, uint32_t count, uint32_t n, float* x);
AddWeightedFn add_weighted_scalar;

enum class KvType : uint8_t { int8, bf16, f32, int4 };
inline constexpr KvType kKvTypes[] = {KvType::int8, KvType::int4, KvType::bf16, KvType::f32};
// Values are integers with one scale a position and head.
static constexpr bool is_integer(KvType type) { return type == KvType::int8 || type == KvType::int4; }
// Queries are int8, else float32.
static constexpr bool rounds_queries(KvType type) { return type == KvType::int8; }
static constexpr uint32_t query_width(KvType type) { return rounds_queries(type) ? 1 : 4; }
// Keys are packed by page: those of a sequence's last page wait in bfloat16 beside it (open keys) until the page is full.
static constexpr bool packs_keys(KvType type) { return type == KvType::int4; }
// Bytes of so many values.
static constexpr size_t kv_bytes(KvType type, size_t values) {
  return type == KvType::int4 ? values / 2 : type == KvType::int8 ? values : type == KvType::bf16 ? 2 * values : 4 * values;
}
inline constexpr uint32_t kKvBlock = 64;  // tokens of a page; attention walks the cache in such blocks, aligned to position 0
inline constexpr uint32_t kMaxHeadDim = 256;

// Where the parts of one KV head's share of a page lie, in bytes. Keys are panels of 16 tokens, as the rows of a weight matrix
// are. A value of int4 is a code c in 0..15 that stands for (2 c - 15) times the scale: all 16 levels, none of them zero. A key's
// channel has a scale and a middle of its own in every page (Liu et al. 2024, KIVI), and is (2 c - 15) * scale + middle: some
// channels of trained models are a hundred times as large as others (docs/decisions/int4-cache.md).
struct KvBlockLayout {
  size_t keys;        // int8 [4][d/4][16][4], or bf16 or float32 [4][d][16]; int4 [4][d/8][16][4], k + 4 in the high nibbles
  size_t key_scales;  // float32 [64] (int8), or scales [d] and middles [d] (int4)
  size_t values;      // int8 [16][d][4], quads of tokens, or bf16 or float32 [64][d]; int4 [16][d/32][16][4], d + 16 in the high
  size_t value_scales;  // float32 [64]   (int8, int4)
  size_t bytes;         // a multiple of 64
};

static inline KvBlockLayout kv_block_layout(KvType type, uint32_t head_dim) {
  const size_t matrix = kv_bytes(type, size_t{kKvBlock} * head_dim), scales = is_integer(type) ? kKvBlock * 4 : 0;
  const size_t key_scales = packs_keys(type) ? size_t{head_dim} * 8 : scales;
  return {0, matrix, matrix + key_scales, 2 * matrix + key_scales, 2 * matrix + key_scales + scales};
}

// Of one KV head's open keys: bfloat16 [4][d][16], as the keys of a bf16 cache.
static constexpr size_t open_keys_bytes(uint32_t head_dim) { return size_t{kKvBlock} * head_dim * 2; }

// What scores are multiplied with: 1 / sqrt(head_dim), and log2(e) because softmax takes powers of two.
static inline float query_scale(uint32_t head_dim) {
  return 1.44269504088896341f / __builtin_sqrtf(static_cast<float>(head_dim));
}

// One token's projections become a query and an entry of the KV cache: bias, RMSNorm a head, rotary embedding (Su et al. 2021,
// half-split as in GPT-NeoX), rounding to the cache's type.
struct RopeTask {
  const float *queries, *keys, *values;   // [heads], [kv_heads] and [kv_heads] times [head_dim]
  size_t query_stride;                    // floats from a head's queries to the next one's
  const float *q_bias, *k_bias, *v_bias;  // [heads], [kv_heads] and [kv_heads] times [head_dim], or null
  const float *q_weight, *k_weight;       // [head_dim], or null: no norm
  const float* cos_sin;                   // [rotated / 2] cosines, then as many sines; 16 floats more may be read
  float eps;
  uint32_t heads, kv_heads, head_dim;
  uint32_t rotated;  // of a head's values, the first ones; the others stay as they are
  KvType type;
  void* q;                // [heads][head_dim]: int8, or float32 already times query_scale(head_dim)
  float* q_scales;        // [heads], times query_scale(head_dim)  (int8)
  uint8_t* page;          // this layer's share of the page: kv_heads blocks
  uint8_t* open_keys;     // and of the open keys, kv_heads times open_keys_bytes, which keys go to  (int4)
  uint32_t row;           // position % kKvBlock
  uint32_t first, count;  // the KV heads that are wanted, with their query heads
};
using RopeFn = void(const RopeTask& task);
RopeFn qk_norm_rope_scalar;

// Rows [first, kKvBlock) of a block become zeros: what the page held before leaves no trace. Not for int4.
void clear_rows(KvType type, uint32_t head_dim, uint32_t first, uint8_t* block);

// How a channel of a page is packed: code = (key - middle) * inverse + 7.5, rounded.
struct PackedChannel {
  float scale, middle, inverse;
  // Of its largest and its smallest key. Neither is ever -0, whichever of two zeros a tier finds.
  PackedChannel(float top, float bottom)
      : scale((top - bottom) / 30.0f + 0.0f),
        middle((top + bottom) * 0.5f + 0.0f),
        inverse(top > bottom ? 15.0f / (top - bottom) : 0.0f) {}
};

// The open keys of a full page become its block's codes, scales and middles (int4), for one KV head.
using PackKeysFn = void(const uint8_t* open_keys, uint32_t head_dim, uint8_t* block);
PackKeysFn pack_keys_scalar;

// Consecutive tokens of one sequence, the query heads of some KV heads. Where keys are packed by page, all tokens are of one
// page, whose open keys they read: what a query reads depends on its position alone, not on what was computed together with it.
struct AttentionTask {
  const void* q;  // first token's first query head; see RopeTask
  const float* q_scales;
  size_t q_stride;  // heads from token to token
  uint32_t heads;   // KV heads, whose blocks lie one after the other
  uint32_t tokens, group, head_dim;
  uint32_t position;  // of the first token
  KvType type;
  const uint8_t* const* pages;  // of the sequence
  size_t offset;                // of this layer's and the first head's block in a page
  const uint8_t* open_keys;     // of the first head, the others lie behind it  (int4)
  const uint8_t* next;          // the block that this thread reads afterwards, or null
  float* out;                   // [tokens][q_stride][head_dim], first token's first query head
  uint8_t* scratch;             // kAttentionScratchBytes, 64-byte aligned
};
inline constexpr uint32_t kAttentionRows = 48;  // tokens * group at most, or one token
inline constexpr uint32_t kMaxGroup = 64;       // and heads * tokens * group at most
inline constexpr size_t kAttentionScratchBytes = 9984;

// With integer values, weights are integers up to kLargestWeight, relative to the largest of a row and block: w = 128 * high +
// low, both in 0..127, so that every tier's dot product of bytes takes them exactly.
inline constexpr float kLargestWeight = 16383.0f;
inline constexpr float kLeastWeight = 1e-30f;  // a largest weight below it counts as this, so that its inverse is finite

// softmax(q k^T) v over positions 0..position of each token, block by block with a running maximum (Milakov & Gimelshein 2018).
using AttentionFn = void(const AttentionTask& task);
AttentionFn attention_scalar;

struct KernelTable {
  Isa isa;
  MatmulFn* matmul;
  RmsNormFn* rmsnorm;
  RmsNormQuantizeFn* rmsnorm_quantize;
  QuantizeFn* quantize;
  SiluMulFn* silu_mul;
  SiluPanelsFn* silu_panels;
  SigmoidMulFn* sigmoid_mul;
  DotGateFn* dot_gate;
  GatedNormFn* gated_norm;
  UnitFn* unit;
  ConvSiluFn* conv_silu;
  DeltaGatesFn* delta_gates;
  DeltaFn* delta_rule;
  RouteFn* route;
  AddWeightedFn* add_weighted;
  RopeFn* qk_norm_rope;
  PackKeysFn* pack_keys;
  AttentionFn* attention;
  uint32_t stream_panels = 2;  // of few tokens that one call of matmul should have, at most kGemmPanels
};

// The tier must be supported by this machine.
const KernelTable& kernel_table(Isa isa);

}  // namespace q3e
