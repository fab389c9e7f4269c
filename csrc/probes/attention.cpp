#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

#include "exec/kv_cache.h"
#include "exec/rotary.h"
#include "exec/scratch.h"
#include "exec/thread_pool.h"
#include "probes/probes.h"
#include "probes/stopwatch.h"

namespace q3e {

double time_attention(Isa isa, KvType type, const AttentionShape& shape, uint32_t context, uint32_t tokens, uint32_t layers,
                      int threads, double seconds) {
  const KernelTable& kernels = kernel_table(isa);
  const uint32_t group = shape.heads / shape.kv_heads, d = shape.head_dim, team = static_cast<uint32_t>(threads);
  const size_t q_width = query_width(type), head_bytes = kv_block_layout(type, d).bytes;
  const size_t layer_bytes = shape.kv_heads * head_bytes;
  KvCache cache(layers * layer_bytes, 1, context, KvCache::pages_for(context));
  cache.grow(0, context);
  // Every byte pattern of this kind is a small finite number in int8, bfloat16 and float32.
  for (uint32_t p = 0; p < context; p += kKvBlock) std::memset(cache.page(0, p), 0x3c, layers * layer_bytes);
  std::vector<float> q(size_t{tokens} * shape.heads * d), q_scales(size_t{tokens} * shape.heads, 0.01f), out(q.size());
  std::memset(q.data(), 0x3c, q.size() * sizeof(float));
  const std::vector<uint8_t> open_keys(packs_keys(type) ? shape.kv_heads * open_keys_bytes(d) : 0, 0x3c);
  const auto scratch = std::make_unique<WorkerScratch[]>(static_cast<size_t>(threads));
  ThreadPool pool(threads);
  const AttentionTiles split = split_attention(shape, {{0, 0, tokens, context - tokens}}, team, packs_keys(type));
  const uint32_t parts = split.parts(), heads = split.heads_per_item;
  const auto step = [&] {
    pool.run([&](Worker& w) {
      for (uint32_t layer = 0; layer < layers; ++layer)
        w.for_each(static_cast<uint32_t>(split.tiles.size()) * parts, [&](uint32_t item) {
          const Run& tile = split.tiles[item / parts];
          const uint32_t h = item % parts * heads;
          const size_t first = size_t{tile.first} * shape.heads + size_t{h} * group;
          kernels.attention({reinterpret_cast<const uint8_t*>(q.data()) + first * d * q_width, q_scales.data() + first,
                             shape.heads, std::min(heads, shape.kv_heads - h), tile.count, group, d, tile.position, type,
                             cache.pages(0), layer * layer_bytes + h * head_bytes,
                             open_keys.empty() ? nullptr : open_keys.data() + h * open_keys_bytes(d), nullptr,
                             out.data() + first * d, scratch[static_cast<size_t>(w.index)].attention});
        });
    });
  };
  step();
  return time_calls(seconds, step) / layers;
}

double time_qk_norm_rope(Isa isa, KvType type, const AttentionShape& shape, double seconds) {
  const KernelTable& kernels = kernel_table(isa);
  const uint32_t d = shape.head_dim, rows = shape.heads + 2 * shape.kv_heads;
  KvCache cache(shape.kv_heads * kv_block_layout(type, d).bytes, 1, kKvBlock, 1);
  cache.grow(0, kKvBlock);
  std::vector<float> qkv(size_t{rows} * d), weight(d, 1.0f), frequencies(d / 2, 0.01f), cos_sin(d + 16),
      q(size_t{shape.heads} * d), q_scales(shape.heads);
  std::vector<uint8_t> open_keys(packs_keys(type) ? shape.kv_heads * open_keys_bytes(d) : 0);
  for (size_t i = 0; i < qkv.size(); ++i) qkv[i] = static_cast<float>(i % 17) - 8.0f;
  fill_cos_sin(7, frequencies.data(), d / 2, 1.0f, cos_sin.data());
  const float* keys = qkv.data() + size_t{shape.heads} * d;
  const auto block = [&] {
    for (uint32_t row = 0; row < kKvBlock; ++row)
      kernels.qk_norm_rope({qkv.data(),
                            keys,
                            keys + size_t{shape.kv_heads} * d,
                            d,
                            nullptr,
                            nullptr,
                            nullptr,
                            weight.data(),
                            weight.data(),
                            cos_sin.data(),
                            1e-6f,
                            shape.heads,
                            shape.kv_heads,
                            d,
                            d,
                            type,
                            q.data(),
                            q_scales.data(),
                            cache.page(0, row),
                            open_keys.data(),
                            row,
                            0,
                            shape.kv_heads});
    for (uint32_t h = 0; packs_keys(type) && h < shape.kv_heads; ++h)
      kernels.pack_keys(open_keys.data() + h * open_keys_bytes(d), d, cache.page(0, 0) + h * kv_block_layout(type, d).bytes);
  };
  return time_calls(seconds, block) / kKvBlock;
}

}  // namespace q3e
