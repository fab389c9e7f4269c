// The packed formats of docs/format.md: which there are, and where their planes lie.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace q3e {

inline constexpr uint32_t kPanelRows = 16;
inline constexpr uint32_t kSuperBlock = 256;  // values of K under one scale of q8, q4z and q6z
inline constexpr uint32_t kColumnUnit = 32;   // K is a multiple of it
inline constexpr size_t kPlaneAlignment = 64;

enum class FormatKind : uint8_t { vector, f32, bf16, q8, q4g, q4a, q4z, q6z };

// What all formats of a kind have in common. Widths in bits; a plane of no width is not there.
struct KindTraits {
  uint8_t weight;      // of what stands for a weight in the last plane: w, w8, q4 or q6
  uint8_t minimum;     // of a block's m, a float16 beside its d
  uint8_t sub_scale;   // of a group's s or sc
  uint8_t sub_offset;  // of a group's z: then s * q + z must stay in int8
  float limit;         // the largest magnitude of weights whose scales and minima fit float16, with room for the search
};

inline constexpr float kLargestFloat = 3.4028234663852886e38f, kLargestBfloat16 = 3.3895313892515355e38f;
// Static, as files of several tiers read it at run time.
static constexpr KindTraits kKinds[] = {
    {0, 0, 0, 0, kLargestFloat},      // vector: not in panels
    {32, 0, 0, 0, kLargestFloat},     // f32
    {16, 0, 0, 0, kLargestBfloat16},  // bf16
    {8, 0, 0, 0, 127.0f * 65000.0f},  // q8
    {4, 0, 0, 0, 4.0f * 65000.0f},    // q4g
    {4, 16, 0, 0, 32000.0f},          // q4a
    {4, 0, 4, 8, 100.0f * 65000.0f},  // q4z
    {6, 0, 8, 0, 100.0f * 65000.0f},  // q6z
};
static constexpr const KindTraits& traits(FormatKind kind) { return kKinds[static_cast<size_t>(kind)]; }

// Calls f.operator()<kind>() for a kind that is known at run time only.
template <size_t first = 0, class F>
static inline void with_kind(FormatKind kind, F&& f) {
  if constexpr (constexpr auto each = static_cast<FormatKind>(first); first < sizeof kKinds / sizeof *kKinds) {
    if (kind == each) return f.template operator()<each>();
    with_kind<first + 1>(kind, f);
  }
}

struct BlockFormat {
  const char* name;
  FormatKind kind;
  uint16_t block;  // values of K that share one float scale, and the activations' block; 0 when unquantized
  uint16_t group;  // values of K that share the finest scale: the sub-groups of q4z and q6z, else as block
};

inline constexpr BlockFormat kBlockFormats[] = {
    {"vector", FormatKind::vector, 0, 0}, {"f32", FormatKind::f32, 0, 0},        {"bf16", FormatKind::bf16, 0, 0},
    {"q8", FormatKind::q8, 256, 256},     {"q8g32", FormatKind::q8, 32, 32},     {"q4g32", FormatKind::q4g, 32, 32},
    {"q4g64", FormatKind::q4g, 64, 64},   {"q4g128", FormatKind::q4g, 128, 128}, {"q4a32", FormatKind::q4a, 32, 32},
    {"q4a64", FormatKind::q4a, 64, 64},   {"q4a128", FormatKind::q4a, 128, 128}, {"q4z32", FormatKind::q4z, 256, 32},
    {"q4z64", FormatKind::q4z, 256, 64},  {"q6z32", FormatKind::q6z, 256, 32},
};

// Null for an unknown name.
constexpr const BlockFormat* find_block_format(std::string_view name) {
  for (const BlockFormat& f : kBlockFormats)
    if (name == f.name) return &f;
  return nullptr;
}

// Whether some format of a kind has one scale in 256, or (not whole) in fewer.
static constexpr bool has_blocks(FormatKind kind, bool whole) {
  for (const BlockFormat& f : kBlockFormats)
    if (f.kind == kind && f.block > 0 && (f.block == kSuperBlock) == whole) return true;
  return false;
}

// Byte offsets of the planes inside one panel. Planes that a format lacks have the offset of the next one.
struct PanelLayout {
  uint32_t blocks;    // of K under a float scale each, the last may be short
  size_t scale;       // d: float16 [blocks][16]
  size_t minimum;     // m: float16 [blocks][16]                  (q4a)
  size_t sub_scale;   // s: uint32 or uint16 [blocks][16]         (q4z), sc: uint8 [blocks][2][16][4] (q6z)
  size_t sub_offset;  // z: int8 [blocks][256 / group / 4][16][4] (q4z)
  size_t quants;      // w, w8, q4 or q6
  size_t bytes;       // of the whole panel
};

static inline size_t align_plane(size_t n) { return (n + kPlaneAlignment - 1) / kPlaneAlignment * kPlaneAlignment; }

// What the columns of a format are a multiple of. A block of q8 may end anywhere.
static inline uint32_t column_unit(const BlockFormat& f) {
  if (f.kind == FormatKind::vector) return 1;
  return f.group == 0 || f.kind == FormatKind::q8 ? kColumnUnit : f.group;
}

// Whether a row of `columns` values can be held by the format.
static inline bool holds_columns(const BlockFormat& f, uint64_t columns) { return columns > 0 && columns % column_unit(f) == 0; }

static inline PanelLayout panel_layout(const BlockFormat& f, uint32_t columns) {
  const KindTraits& kind = traits(f.kind);
  PanelLayout p{};
  p.blocks = f.block ? (columns + f.block - 1) / f.block : 0;
  const size_t scales = size_t{p.blocks} * kPanelRows, groups = f.group ? scales * (f.block / f.group) : 0;
  const auto take = [&](size_t count, size_t bits) {
    const size_t begin = p.bytes;
    p.bytes += align_plane(count * bits / 8);
    return begin;
  };
  p.scale = take(scales, 16);
  p.minimum = take(scales, kind.minimum);
  p.sub_scale = take(groups, kind.sub_scale);
  p.sub_offset = take(groups, kind.sub_offset);
  p.quants = take(size_t{columns} * kPanelRows, kind.weight);
  return p;
}

static inline uint64_t panel_count(uint64_t rows) { return (rows + kPanelRows - 1) / kPanelRows; }

// Bytes of a packed tensor. Callers have bounded rows and columns to 2^31.
static inline uint64_t packed_bytes(const BlockFormat& f, uint64_t rows, uint64_t columns) {
  if (f.kind == FormatKind::vector) return columns * 4;
  return panel_count(rows) * panel_layout(f, static_cast<uint32_t>(columns)).bytes;
}

}  // namespace q3e
