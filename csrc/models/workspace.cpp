#include "models/workspace.h"

#include <sys/mman.h>

#include <algorithm>
#include <string>

#include "base/error.h"

namespace q3e {

Workspace::Workspace(const ModelConfig& config, const KernelTable& kernels, const ScratchLayout& layout)
    : config_(config), kernels_(kernels), layout_(layout) {
  void* p = mmap(nullptr, layout_.bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED)
    throw Error(Status::out_of_memory, "scratch: expected " + std::to_string(layout_.bytes) + " bytes, found none");
  madvise(p, layout_.bytes, MADV_NOHUGEPAGE);
  memory_ = static_cast<uint8_t*>(p);
}

Workspace::~Workspace() { munmap(memory_, layout_.bytes); }

void Workspace::norm(Worker& w, const float* x, const float* weight, uint32_t tokens,
                     std::initializer_list<const MatrixView*> readers) const {
  const uint32_t hidden = config_.hidden_size;
  w.for_each(tokens, [&](uint32_t t) {
    const float* row = x + size_t{t} * hidden;
    for (const auto* reader = readers.begin(); reader != readers.end(); ++reader) {
      const uint32_t block = (*reader)->format->block;
      if (std::any_of(readers.begin(), reader, [&](const MatrixView* m) { return m->format->block == block; })) continue;
      const ActivationBuffers b = buffers(block, hidden, t);
      if (block)
        kernels_.rmsnorm_quantize(row, weight, hidden, config_.rms_epsilon, block, b.quants, b.scales, b.sums);
      else
        kernels_.rmsnorm(row, weight, hidden, config_.rms_epsilon, b.values);
    }
  });
}

void Workspace::round(Worker& w, const float* x, uint32_t columns, uint32_t tokens, const MatrixView& reader) const {
  const uint32_t block = reader.format->block;
  if (block == 0) return;
  w.for_each(tokens, [&](uint32_t t) {
    const ActivationBuffers b = buffers(block, columns, t);
    kernels_.quantize(x + size_t{t} * columns, columns, block, b.quants, b.scales, b.sums);
  });
}

void Workspace::project(Worker& w, std::initializer_list<Projection> projections, uint32_t tokens, const float* float_input,
                        Epilogue epilogue) const {
  const uint32_t step = panels_per_item(tokens);
  uint32_t items = 0;
  for (const Projection& p : projections) items += (p.weight->panels() + step - 1) / step;
  WorkerScratch& scratch = own(w);
  w.for_each(items, [&](uint32_t item) {
    const Projection* p = projections.begin();
    for (uint32_t own_items; item >= (own_items = (p->weight->panels() + step - 1) / step); ++p) item -= own_items;
    const uint32_t first = item * step, last = std::min(first + step, p->weight->panels()), rows = (last - first) * kPanelRows;
    for (uint32_t t = 0; t < tokens; t += kGemmTokens) {
      const uint32_t n = std::min(kGemmTokens, tokens - t);
      const Activations a = activations(*p->weight, float_input, t, n);
      float* out = p->out + t * p->stride + size_t{first} * kPanelRows;
      if (epilogue == Epilogue::store) {
        kernels_.matmul(*p->weight, first, last, a, out, p->stride, scratch.matmul);
        continue;
      }
      kernels_.matmul(*p->weight, first, last, a, scratch.tile, rows, scratch.matmul);
      for (uint32_t i = 0; i < n; ++i)
        for (uint32_t r = 0; r < rows; ++r) out[i * p->stride + r] += scratch.tile[i * rows + r];
    }
  });
}

ActivationBuffers Workspace::buffers(uint32_t block, uint32_t columns, uint32_t token) const {
  if (block == 0) return {at<float>(layout_.normed) + size_t{token} * columns, nullptr, nullptr, nullptr};
  const auto& q =
      *std::find_if(layout_.quantized.begin(), layout_.quantized.end(), [&](const auto& b) { return b.block == block; });
  const size_t blocks = (columns + block - 1) / block;
  return {nullptr, at<int8_t>(q.quants) + size_t{token} * activation_stride(columns), at<float>(q.scales) + token * blocks,
          at<int32_t>(q.sums) + token * blocks};
}

Activations Workspace::activations(const MatrixView& reader, const float* float_input, uint32_t first, uint32_t tokens) const {
  const uint32_t block = reader.format->block, columns = reader.columns, stride = activation_stride(columns);
  if (block == 0) return {tokens, columns, stride, 0, float_input + size_t{first} * columns, nullptr, nullptr, nullptr};
  const ActivationBuffers b = buffers(block, columns, first);
  return {tokens, columns, stride, block, nullptr, b.quants, b.scales, b.sums};
}

}  // namespace q3e
