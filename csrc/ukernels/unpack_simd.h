// Packed weights on their way into a dot product, for any tier's vocabulary S (simd_<isa>.h): unpacking, the float step of a
// block, and asking for what comes next.
#pragma once

#include "base/half.h"
#include "ukernels/kernels.h"

namespace q3e {
namespace {

// Ahead in the stream of panels, whose end the hardware's prefetcher does not see coming: of one panel; of several together.
inline constexpr size_t kPrefetchBytes = 6144, kTogetherBytes = 24576;
inline constexpr size_t kNextPanelsBytes = 34816;  // the longest panels, all together, of which the next ones fit L1 besides

// Unpack<S, kind>: one run of 32 columns of a panel, eight weight vectors (quads of k) in four pairs, and which dot product they
// take.
template <class S, FormatKind kind>
struct Unpack;

template <class S>
struct Unpack<S, FormatKind::q8> {
  static constexpr bool kSigned = true;
  static constexpr int32_t kBias = S::kSignedBias;
  Unpack(const MatrixView& w, const uint8_t* panel, uint32_t k) : quants(panel + w.layout.quants + size_t{k} * 16) {}
  void pair(uint32_t i, typename S::W* v) const {
    v[0] = S::load_signed(quants + i * 128);
    v[1] = S::load_signed(quants + i * 128 + 64);
  }
  const uint8_t* quants;
};

template <class S>
struct UnpackNibbles {
  static constexpr bool kSigned = false;
  UnpackNibbles(const MatrixView& w, const uint8_t* panel, uint32_t k) : quants(panel + w.layout.quants + size_t{k} * 8) {}
  void pair(uint32_t i, typename S::W* v) const {
    const typename S::W both = S::load_w(quants + i * 64);
    v[0] = S::low_nibbles(both);
    v[1] = S::high_nibbles(both);
  }
  const uint8_t* quants;
};
template <class S>
struct Unpack<S, FormatKind::q4g> : UnpackNibbles<S> {
  static constexpr int32_t kBias = 8;
  using UnpackNibbles<S>::UnpackNibbles;
};
template <class S>
struct Unpack<S, FormatKind::q4a> : UnpackNibbles<S> {
  static constexpr int32_t kBias = 0;
  using UnpackNibbles<S>::UnpackNibbles;
};

template <class S>
struct Unpack<S, FormatKind::q4z> : UnpackNibbles<S> {
  static constexpr bool kSigned = true;
  static constexpr int32_t kBias = S::kSignedBias;
  Unpack(const MatrixView& w, const uint8_t* panel, uint32_t k) : UnpackNibbles<S>(w, panel, k), group(load_group(w, panel, k)) {}
  Unpack(const MatrixView& w, const uint8_t* panel, uint32_t k, const typename S::Group& ready)
      : UnpackNibbles<S>(w, panel, k), group(ready) {}
  void pair(uint32_t i, typename S::W* v) const {
    UnpackNibbles<S>::pair(i, v);
    v[0] = S::scale_nibbles(v[0], group);
    v[1] = S::scale_nibbles(v[1], group);
  }
  static typename S::Group load_group(const MatrixView& w, const uint8_t* panel, uint32_t k) {
    const uint32_t shift = w.format->group == 32 ? 5 : 6, groups = kSuperBlock >> shift;  // a division would take longer
    const uint32_t b = k / kSuperBlock, g = k % kSuperBlock >> shift;
    return S::load_group(panel + w.layout.sub_scale + size_t{b} * kPanelRows * groups / 2,
                         panel + w.layout.sub_offset + size_t{b} * kPanelRows * groups, groups, g);
  }
  typename S::Group group;
};

template <class S>
struct Unpack<S, FormatKind::q6z> {
  static constexpr bool kSigned = true;
  static constexpr int32_t kBias = S::kSignedBias;
  Unpack(const MatrixView& w, const uint8_t* panel, uint32_t k)
      : quants(panel + w.layout.quants + size_t{k} * 12),
        group(S::template load_group_q6<S::kSignedBias>(panel + w.layout.sub_scale + size_t{k / 128} * 64, k / 32 % 4)) {}
  // Four quads lie in three vectors: the fourth in the upper two bits of the others.
  void pair(uint32_t i, typename S::W* v) const {
    const uint8_t* at = quants + i / 2 * 192;
    const typename S::W a = S::load_w(at), b = S::load_w(at + 64), c = S::load_w(at + 128);
    v[0] = S::scale_nibbles(S::low_six(i % 2 ? c : a), group);
    v[1] = S::scale_nibbles(i % 2 ? S::high_pairs(a, b, c) : S::low_six(b), group);
  }
  const uint8_t* quants;
  typename S::Group group;
};

// A panel's runs in one block. Where `busy` products and not memory are the bound, they share what they can.
template <class S, FormatKind kind, bool busy>
struct BlockRuns {
  BlockRuns(const MatrixView&, const uint8_t*, uint32_t) {}
  Unpack<S, kind> run(const MatrixView& w, const uint8_t* panel, uint32_t k) const { return {w, panel, k}; }
};
template <class S>
  requires requires { typename S::BlockGroups; }
struct BlockRuns<S, FormatKind::q4z, true> {
  BlockRuns(const MatrixView& w, const uint8_t* panel, uint32_t block)
      : shift(w.format->group == 32 ? 5 : 6),
        groups(S::load_groups(panel + w.layout.sub_scale + (size_t{block} * kPanelRows * kSuperBlock >> shift) / 2,
                              panel + w.layout.sub_offset + (size_t{block} * kPanelRows * kSuperBlock >> shift),
                              kSuperBlock >> shift)) {}
  Unpack<S, FormatKind::q4z> run(const MatrixView& w, const uint8_t* panel, uint32_t k) const {
    return {w, panel, k, S::group_of(groups, k % kSuperBlock >> shift)};
  }
  uint32_t shift;
  typename S::BlockGroups groups;
};

// use(quad, vector) for the eight quads of a run.
template <class S, class U, class Use>
[[gnu::always_inline]] inline void for_each_quad(const U& run, Use&& use) {
#pragma GCC unroll 4
  for (uint32_t i = 0; i < 4; ++i) {
    typename S::W v[2];
    run.pair(i, v);
    use(2 * i, v[0]);
    use(2 * i + 1, v[1]);
  }
}

// use(i) for the four pairs of a run. `rolled`: as a loop, where so many products follow each that its jump costs nothing.
template <bool rolled, class Use>
[[gnu::always_inline]] inline void for_each_pair(Use&& use) {
  if constexpr (rolled) {
#pragma GCC unroll 1
    for (uint32_t i = 0; i < 4; ++i) use(i);
  } else {
#pragma GCC unroll 4
    for (uint32_t i = 0; i < 4; ++i) use(i);
  }
}

template <class S, bool is_signed>
typename S::I dot(typename S::I acc, typename S::W w, const int8_t* a) {
  if constexpr (is_signed) return S::dot_signed(acc, w, a);
  return S::dot_nibbles(acc, w, a);
}

// acc + d * sa * (isum - bias * sum) [+ m * sa * sum]: the one float step of a block.
template <class S, FormatKind kind>
typename S::F finish_block(typename S::F acc, typename S::I isum, typename S::F d, typename S::F m, float sa, int32_t sum) {
  if constexpr (Unpack<S, kind>::kBias != 0) isum = S::isub(isum, S::iset1(Unpack<S, kind>::kBias * sum));
  acc = S::fma(S::to_float(isum), S::mul(d, S::set1(sa)), acc);
  if constexpr (kind == FormatKind::q4a) acc = S::fma(S::set1(static_cast<float>(sum)), S::mul(m, S::set1(sa)), acc);
  return acc;
}

template <class S, FormatKind kind>
typename S::F load_minimum(const MatrixView& w, const uint8_t* panel, uint32_t b) {
  if constexpr (kind == FormatKind::q4a) return S::load_f16(panel + w.layout.minimum + size_t{b} * 32);
  return S::zero();
}

// Asks for the part of the stream of panels that lies kPrefetchBytes, and the scales that are in front of it, after the run of
// columns at k. Panels that are read `together` have their share of kTogetherBytes each, and the next ones lie behind all of
// them.
template <class S>
void prefetch_ahead(const MatrixView& w, const uint8_t* panel, uint32_t k, uint32_t together = 1) {
  const size_t run = w.layout.bytes * kColumnUnit / w.columns;  // bytes of all planes together
  size_t at = k / kColumnUnit * run + (together == 1 ? kPrefetchBytes + w.layout.quants : kTogetherBytes / together);
  if (at >= w.layout.bytes) at += (together - 1) * w.layout.bytes;
  for (size_t i = 0; i < run; i += 64) S::prefetch(panel + at + i);
}

// The panels behind those that are read together, asked for in the order of their addresses: one stream to the machine's own
// prefetcher, not one for each panel. For panels that L1 holds besides.
template <class S>
class NextPanels {
 public:
  NextPanels(const MatrixView& w, const uint8_t* panels, uint32_t together)
      : run_(w.layout.bytes * kColumnUnit / w.columns * together), next_(panels + w.layout.bytes * together), end_(next_) {}
  static bool fit(const MatrixView& w, uint32_t together) { return w.layout.bytes * together <= kNextPanelsBytes; }
  void prefetch() {  // as much as a run of columns reads
    for (end_ += run_; next_ < end_; next_ += 64) S::prefetch(next_);
  }

 private:
  size_t run_;
  const uint8_t *next_, *end_;
};

// What `count` panels side by side need after column `end`: their next 256 columns, or those of the panels behind them with the
// scales before. Asked for in equal parts, one with each of `tiles`, so that products hide the memory's latency: the hardware's
// prefetcher loses its way between panels.
template <class S>
class ColumnsAhead {
 public:
  ColumnsAhead(const MatrixView& w, uint32_t first, uint32_t count, uint32_t end, uint32_t tiles)
      : panel_(w.data + first * w.layout.bytes), stride_(w.layout.bytes) {
    const size_t column = (w.layout.bytes - w.layout.quants) / w.columns;
    begin_ = w.layout.quants + end * column;
    if (end >= w.columns) {
      panel_ += count * stride_;
      begin_ = 0;
      end = 0;
    }
    end_ = w.layout.quants + (end + kSuperBlock) * column;
    if (end_ > stride_) end_ = stride_;
    at_ = begin_;
    left_ = (end_ - begin_ + 63) / 64 * count;
    part_ = (left_ + tiles - 1) / tiles;
  }
  void ask() {
    const size_t lines = part_ < left_ ? part_ : left_;
    left_ -= lines;
    for (size_t i = 0; i < lines; ++i, at_ += 64) {
      if (at_ >= end_) {
        panel_ += stride_;
        at_ = begin_;
      }
      S::prefetch(panel_ + at_);
    }
  }

 private:
  const uint8_t* panel_;
  size_t stride_, begin_, end_, at_, left_, part_;
};

static inline uint32_t at_most(uint32_t n, uint32_t most) { return n < most ? n : most; }
static inline uint32_t tiles_of(uint32_t n, uint32_t tile) { return (n + tile - 1) / tile; }

// Calls f.operator()<n>() for a run-time n that is one of those named: for counts that others never have.
template <int... counts, class Fn>
void with_one_of(int n, Fn&& f) {
  (void)((n == counts && (f.template operator()<counts>(), true)) || ...);
}

// Of `left` panels so many are taken together: as many as fill a tile, else one. Tiles of all counts between would be most of a
// tier's code, for the last panels of a matrix or of a cache's last page alone.
static constexpr uint32_t panels_together(uint32_t left, uint32_t tile) { return left < tile ? 1 : tile; }

// Calls f.operator()<n>() for a run-time n in 1..N.
template <int N, class Fn>
void with_count(int n, Fn&& f) {
  if constexpr (N > 0) {
    if (n == N)
      f.template operator()<N>();
    else
      with_count<N - 1>(n, f);
  }
}

}  // namespace
}  // namespace q3e
