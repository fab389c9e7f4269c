#include "models/scratch.h"

#include <algorithm>

namespace q3e {
namespace {

size_t take(size_t& at, size_t bytes) {
  const size_t begin = at;
  at = (at + bytes + 63) / 64 * 64;
  return begin;
}

// Rows of `columns` that matrices of these blocks read.
ScratchLayout::Experts::Rows take_rows(size_t& at, const std::vector<uint32_t>& blocks, size_t rows, uint32_t columns,
                                       bool values) {
  const uint32_t smallest = blocks.front() ? blocks.front() : blocks.size() > 1 ? blocks[1] : 0;
  const size_t scales = smallest ? rows * ((columns + smallest - 1) / smallest) * 4 : 0;
  ScratchLayout::Experts::Rows r{};
  r.values = take(at, values || blocks.front() == 0 ? rows * columns * 4 : 0);
  r.quants = take(at, smallest ? rows * activation_stride(columns) : 0);
  r.scales = take(at, scales);
  r.sums = take(at, scales);
  return r;
}

ScratchLayout::Experts expert_layout(const ModelConfig& config, const std::vector<uint32_t>& blocks, size_t tokens, size_t& at) {
  const size_t slots = tokens * config.experts_per_token;
  ScratchLayout::Experts e{};
  e.logit_stride = (config.experts + kPanelRows - 1) / kPanelRows * kPanelRows;
  e.logits = take(at, tokens * e.logit_stride * 4);
  e.chosen = take(at, slots * 4);
  e.weights = take(at, slots * 4);
  e.slots = take(at, slots * 4);
  e.input = take_rows(at, blocks, slots, config.hidden_size, false);
  e.hidden = take_rows(at, blocks, slots, config.expert_ffn_size, true);
  e.out = take(at, slots * config.hidden_size * 4);
  e.likely_input = take(at, size_t{config.hidden_size} * 4);
  e.likely_logits = take(at, e.logit_stride * 4);
  return e;
}

}  // namespace

ActivationBlocks activation_blocks(const Weights& weights) {
  ActivationBlocks blocks{{weights.head.format->block}, {}};
  for (const LayerWeights& l : weights.layers) {
    for (const MatrixView* m : l.matrices())
      if (m != &l.down_experts) blocks.all.push_back(m->format->block);  // they read the hidden rows of experts alone
    for (const MatrixView* m : {&l.gate_up_experts, &l.down_experts})
      if (m->format) blocks.experts.push_back(m->format->block);
  }
  for (std::vector<uint32_t>* each : {&blocks.all, &blocks.experts}) {
    std::sort(each->begin(), each->end());
    each->erase(std::unique(each->begin(), each->end()), each->end());
  }
  return blocks;
}

ScratchLayout::ScratchLayout(const ModelConfig& config, const ActivationBlocks& blocks, KvType kv, uint32_t chunk,
                             uint32_t threads) {
  const size_t t = chunk, q_size = config.query_size();
  const size_t widest = std::max<size_t>({config.hidden_size, q_size, config.ffn_size});
  size_t at = 0;
  x = take(at, t * config.hidden_size * 4);
  normed = take(at, blocks.all.front() == 0 ? t * config.hidden_size * 4 : 0);
  const size_t shared = at;
  qkv = take(at, t * (q_size + 2 * config.kv_size()) * 4);
  q = take(at, t * q_size * query_width(kv));
  q_scales = take(at, t * config.heads * 4);
  attention = take(at, t * q_size * 4);
  size_t ffn_end = shared;
  ffn = take(ffn_end, t * config.ffn_size * 4);
  experts = config.is_moe() ? expert_layout(config, blocks.experts, t, ffn_end) : Experts{};
  at = std::max(at, ffn_end);
  cos_sin = take(at, t * config.head_size * 4);
  for (uint32_t block : blocks.all) {
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
