// All that the threads of a forward pass share: scratch memory, the chunk at work, where the tensors are and in which order they
// are read. Written by one thread, before the team starts or between barriers.
#pragma once

#include <memory>
#include <vector>

#include "base/memory_region.h"
#include "exec/batch.h"
#include "exec/expert_source.h"
#include "exec/observer.h"
#include "exec/scratch.h"
#include "exec/thread_pool.h"

namespace q3e {

// Matrices that are read together.
struct Turn {
  std::vector<const Tensor*> tensors;     // none: which ones is known late
  bool is_there = true;                   // while the turn before is computed: of the same layer, or of one that is resident
  const AttentionShape* cache = nullptr;  // of the attention that reads the KV cache after this turn, or null
  size_t page_offset = 0;                 // of its part of a page
};

// The part of a model's sizes that steps need.
struct Sizes {
  uint32_t hidden, rotated;
  float epsilon;
};

struct Pass {
  Pass(const KernelTable& table, const Sizes& sizes, const ScratchRequest& request, const ScratchLayout& layout,
       SequenceStates& states)
      : kernels(table), sizes(sizes), request(request), layout(layout), memory(layout.bytes, "scratch"), states(states) {}

  const KernelTable& kernels;
  const Sizes sizes;
  const ScratchRequest request;  // that the layout was made for
  const ScratchLayout layout;
  const MemoryRegion memory;  // [layout.bytes]
  SequenceStates& states;
  Chunk chunk;
  std::vector<Turn> turns;          // in the order in which they are read; the first follows the last
  ExpertSource* experts = nullptr;  // of a model that has pools
  float min_expert_share = 0;       // of a token's experts those with a smaller share are left out
  std::shared_ptr<Observer> observer;
  uint64_t experts_left_out = 0;

  template <class T>
  T* at(size_t offset) const {
    return reinterpret_cast<T*>(memory.data() + offset);
  }
};

}  // namespace q3e
