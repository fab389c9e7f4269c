#include "exec/scratch.h"

#include <algorithm>

namespace q3e {

ActivationBlocks::ActivationBlocks(std::span<const Tensor> tensors) {
  for (const Tensor& t : tensors) {
    if (t.spec->form == Form::vector || t.spec->place == Place::rows) continue;
    const uint32_t block = t.matrix.format->block;
    if (t.spec->place == Place::experts) experts.push_back(block);
    if (t.spec->own_input) continue;
    shared.push_back(block);
    widest = std::max(widest, t.matrix.columns);
  }
  for (std::vector<uint32_t>* each : {&shared, &experts}) {
    std::sort(each->begin(), each->end());
    each->erase(std::unique(each->begin(), each->end()), each->end());
  }
}

ScratchLayout::ScratchLayout(const ScratchRequest& request, uint32_t hidden, uint32_t rotated, size_t block_bytes,
                             uint32_t threads) {
  const size_t t = request.tokens, widest = request.blocks->widest;
  Layout layout;
  x = layout.take(t * hidden * 4);
  normed = layout.take(request.blocks->shared.front() == 0 ? t * hidden * 4 : 0);
  shared = layout.take(block_bytes);
  cos_sin = layout.take(t * rotated * 4);
  for (uint32_t block : request.blocks->shared) {
    if (block == 0) continue;
    const size_t count = (widest + block - 1) / block;
    Quantized b{block, 0, 0, 0};
    b.quants = layout.take(t * activation_stride(static_cast<uint32_t>(widest)));
    b.scales = layout.take(t * count * 4);
    b.sums = layout.take(t * count * 4);
    quantized.push_back(b);
  }
  workers = layout.take(sizeof(WorkerScratch) * threads);
  bytes = layout.end();
}

}  // namespace q3e
