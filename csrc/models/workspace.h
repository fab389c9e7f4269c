// What all parts of a forward pass share: the scratch memory, and the steps that take activations through weights.
#pragma once

#include <initializer_list>

#include "exec/thread_pool.h"
#include "models/scratch.h"

namespace q3e {

// A matrix and where its product goes.
struct Projection {
  const MatrixView* weight;
  float* out;  // [tokens][stride]
  size_t stride;
};

enum class Epilogue { store, add };

// Steps are called by all threads of a team and end with a barrier. Nothing here allocates or throws but the constructor.
class Workspace {
 public:
  // Throws Error(out_of_memory).
  Workspace(const ModelConfig& config, const KernelTable& kernels, const ScratchLayout& layout);
  ~Workspace();
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;

  const ScratchLayout& layout() const { return layout_; }
  const KernelTable& kernels() const { return kernels_; }
  template <class T>
  T* at(size_t offset) const {
    return reinterpret_cast<T*>(memory_ + offset);
  }
  WorkerScratch& own(const Worker& w) const { return *at<WorkerScratch>(layout_.workers + w.index * layout_.worker_bytes); }

  // Normalizes x and rounds it as its readers want it.
  void norm(Worker& w, const float* x, const float* weight, uint32_t tokens,
            std::initializer_list<const MatrixView*> readers) const;
  // Rounds x as its reader wants it.
  void round(Worker& w, const float* x, uint32_t columns, uint32_t tokens, const MatrixView& reader) const;
  // The rows of all projections are handed out in items of some panels.
  void project(Worker& w, std::initializer_list<Projection> projections, uint32_t tokens, const float* float_input,
               Epilogue epilogue) const;

  // Panels of an item: small items keep the threads level when each is a stream from memory; full ones serve a GEMM's register
  // tiles.
  static uint32_t panels_per_item(uint32_t tokens) { return tokens <= kStreamTokens ? 2 : kGemmPanels; }
  // The same where two matrices take turns: at every change the reads in flight run low.
  static uint32_t panels_in_turns(uint32_t tokens) { return tokens <= kStreamTokens ? 8 : kGemmPanels; }
  // Tokens [first, first + tokens) as a matrix reads them.
  Activations activations(const MatrixView& reader, const float* float_input, uint32_t first, uint32_t tokens) const;
  // Where a token's rounded activations lie.
  ActivationBuffers buffers(uint32_t block, uint32_t columns, uint32_t token) const;

 private:
  const ModelConfig& config_;
  const KernelTable& kernels_;
  ScratchLayout layout_;
  uint8_t* memory_;  // [layout.bytes]
};

}  // namespace q3e
