#include "core/scratch.h"

#include <algorithm>

namespace q3e {
namespace {

size_t take(size_t& at, size_t bytes) {
  const size_t begin = at;
  at = (at + bytes + 63) / 64 * 64;
  return begin;
}

}  // namespace

std::vector<uint32_t> activation_blocks(const Weights& weights) {
  std::vector<uint32_t> blocks{weights.head.format->block};
  for (const LayerWeights& l : weights.layers)
    for (const MatrixView* m : l.matrices()) blocks.push_back(m->format->block);
  std::sort(blocks.begin(), blocks.end());
  blocks.erase(std::unique(blocks.begin(), blocks.end()), blocks.end());
  return blocks;
}

ScratchLayout::ScratchLayout(const ModelConfig& config, const std::vector<uint32_t>& blocks, KvType kv, uint32_t chunk,
                             uint32_t threads) {
  const size_t t = chunk, q_size = config.query_size();
  const size_t widest = std::max<size_t>({config.hidden_size, q_size, config.ffn_size});
  size_t at = 0;
  x = take(at, t * config.hidden_size * 4);
  normed = take(at, blocks.front() == 0 ? t * config.hidden_size * 4 : 0);
  const size_t shared = at;
  qkv = take(at, t * (q_size + 2 * config.kv_size()) * 4);
  q = take(at, t * q_size * (kv == KvType::int8 ? 1 : 4));
  q_scales = take(at, t * config.heads * 4);
  attention = take(at, t * q_size * 4);
  size_t ffn_end = shared;
  ffn = take(ffn_end, t * config.ffn_size * 4);
  at = std::max(at, ffn_end);
  cos_sin = take(at, t * config.head_size * 4);
  for (uint32_t block : blocks) {
    if (block == 0) continue;
    const size_t count = (widest + block - 1) / block;
    Quantized b{block, 0, 0, 0};
    b.quants = take(at, t * activation_stride(static_cast<uint32_t>(widest)));
    b.scales = take(at, t * count * 4);
    b.sums = take(at, t * count * 4);
    quantized.push_back(b);
  }
  worker_bytes = sizeof(WorkerScratch);
  workers = take(at, worker_bytes * threads);
  bytes = at;
}

}  // namespace q3e
