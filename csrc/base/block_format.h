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

// Whether a row of `columns` values can be held by the format.
static inline bool holds_columns(const BlockFormat& f, uint64_t columns) {
  if (f.kind == FormatKind::vector) return columns > 0;
  return columns > 0 && columns % kColumnUnit == 0 && (f.group == 0 || f.kind == FormatKind::q8 || columns % f.group == 0);
}

static inline PanelLayout panel_layout(const BlockFormat& f, uint32_t columns) {
  PanelLayout p{};
  const size_t k = columns;
  p.blocks = f.block ? static_cast<uint32_t>((k + f.block - 1) / f.block) : 0;
  size_t at = 0;
  p.scale = at;
  at += align_plane(size_t{p.blocks} * kPanelRows * 2);
  p.minimum = at;
  if (f.kind == FormatKind::q4a) at += align_plane(size_t{p.blocks} * kPanelRows * 2);
  p.sub_scale = at;
  if (f.kind == FormatKind::q4z) at += align_plane(size_t{p.blocks} * kPanelRows * (f.group == 32 ? 4 : 2));
  if (f.kind == FormatKind::q6z) at += align_plane(size_t{p.blocks} * kPanelRows * (kSuperBlock / f.group));
  p.sub_offset = at;
  if (f.kind == FormatKind::q4z) at += align_plane(size_t{p.blocks} * kPanelRows * (kSuperBlock / f.group));
  p.quants = at;
  switch (f.kind) {
    case FormatKind::vector:
      break;
    case FormatKind::f32:
      at += k * kPanelRows * 4;
      break;
    case FormatKind::bf16:
      at += k * kPanelRows * 2;
      break;
    case FormatKind::q8:
      at += k * kPanelRows;
      break;
    case FormatKind::q6z:
      at += k * kPanelRows / 4 * 3;
      break;
    default:
      at += k * kPanelRows / 2;
      break;
  }
  p.bytes = align_plane(at);
  return p;
}

static inline uint64_t panel_count(uint64_t rows) { return (rows + kPanelRows - 1) / kPanelRows; }

// Bytes of a packed tensor. Callers have bounded rows and columns to 2^31.
static inline uint64_t packed_bytes(const BlockFormat& f, uint64_t rows, uint64_t columns) {
  if (f.kind == FormatKind::vector) return columns * 4;
  return panel_count(rows) * panel_layout(f, static_cast<uint32_t>(columns)).bytes;
}

}  // namespace q3e
