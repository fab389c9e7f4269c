// A full page's open keys become codes of four bits with a scale and a middle for each channel.
#include "base/half.h"
#include "ukernels/kernels.h"
#include "ukernels/math_scalar.h"

namespace q3e {

void pack_keys_scalar(const uint8_t* open_keys, uint32_t d, uint8_t* block) {
  const KvBlockLayout layout = kv_block_layout(KvType::int4, d);
  float* scales = reinterpret_cast<float*>(block + layout.key_scales);
  float* middles = scales + d;
  for (uint32_t i = 0; i < d; ++i) {
    float keys[kKvBlock], top = -INFINITY, bottom = -INFINITY;  // bottom: of the negated keys, as other tiers have only a maximum
    for (uint32_t t = 0; t < kKvBlock; ++t) {
      uint16_t h;
      __builtin_memcpy(&h, open_keys + ((size_t{t / kPanelRows} * d + i) * kPanelRows + t % kPanelRows) * 2, 2);
      keys[t] = f32_from_bf16(h);
      top = max_f32(keys[t], top);
      bottom = max_f32(-keys[t], bottom);
    }
    const PackedChannel channel(top, -bottom);
    scales[i] = channel.scale;
    middles[i] = channel.middle;
    for (uint32_t t = 0; t < kKvBlock; ++t) {
      const float code = fma_f32(keys[t] - channel.middle, channel.inverse, 7.5f);
      const auto c = static_cast<uint8_t>(round_f32(min_f32(max_f32(code, 0.0f), 15.0f)));
      uint8_t& pair =
          block[layout.keys + size_t{t / kPanelRows} * kPanelRows * d / 2 + size_t{i / 8} * 64 + t % kPanelRows * 4 + i % 4];
      pair = static_cast<uint8_t>(i % 8 < 4 ? c : pair | c << 4);
    }
  }
}

}  // namespace q3e
