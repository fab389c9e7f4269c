// A full page's open keys become codes of four bits with a scale and a middle for each channel, for any tier's vocabulary S.
#pragma once

#include <cmath>

#include "ukernels/kernels.h"

namespace q3e {
namespace {

inline constexpr uint32_t kPagePanels = kKvBlock / kPanelRows;

// Codes of one channel of a page: a scale and a middle from its largest and its smallest key.
template <class S>
void pack_channel(const typename S::F (&keys)[kPagePanels], int8_t (*codes)[kPanelRows], float* scale, float* middle) {
  typename S::F top = S::set1(-INFINITY), bottom = top;
  for (const typename S::F& panel : keys) {
    top = S::max(panel, top);
    bottom = S::max(S::negate(panel), bottom);
  }
  const PackedChannel channel(S::fold_max(top), -S::fold_max(bottom));
  *scale = channel.scale;
  *middle = channel.middle;
  const typename S::F shift = S::set1(channel.middle), inverse = S::set1(channel.inverse), half = S::set1(7.5f);
  for (uint32_t p = 0; p < kPagePanels; ++p) {
    const typename S::F code = S::fma(S::sub(keys[p], shift), inverse, half);
    S::store_s8(codes[p], S::to_int(S::min(S::max(code, S::zero()), S::set1(15.0f))));
  }
}

template <class S>
void pack_keys_simd(const uint8_t* open_keys, uint32_t d, uint8_t* block) {
  constexpr uint32_t kChannels = 8;  // of a vector of codes
  const KvBlockLayout layout = kv_block_layout(KvType::int4, d);
  float* scales = reinterpret_cast<float*>(block + layout.key_scales);
  for (uint32_t first = 0; first < d; first += kChannels) {
    alignas(64) int8_t codes[kChannels][kPagePanels][kPanelRows];
    for (uint32_t i = 0; i < kChannels; ++i) {
      typename S::F keys[kPagePanels];
      for (uint32_t p = 0; p < kPagePanels; ++p) keys[p] = S::load_bf16(open_keys + (size_t{p} * d + first + i) * kPanelRows * 2);
      pack_channel<S>(keys, codes[i], scales + first + i, scales + d + first + i);
    }
    for (uint32_t p = 0; p < kPagePanels; ++p) {
      uint8_t* at = block + layout.keys + size_t{p} * kPanelRows * d / 2 + size_t{first} * 8;
      for (uint32_t r = 0; r < kPanelRows; ++r)
        for (uint32_t j = 0; j < 4; ++j) *at++ = static_cast<uint8_t>(codes[j][p][r] | codes[j + 4][p][r] << 4);
    }
  }
}

}  // namespace
}  // namespace q3e
