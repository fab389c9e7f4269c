// The steps that blocks are made of. They alone touch tensors: each knows the names of those that it multiplies, shows them to an
// observer, and asks for what is read next while the threads wait for each other.
//
// All threads of a team call a step together; it ends with a barrier. Nothing here allocates or throws.
#pragma once

#include <initializer_list>

#include "exec/pass.h"

namespace q3e {

// What matrices of float32 read of the last `norm` or `round`; for the others the rounded rows lie in buffers of the pass.
struct Rows {
  const float* values;  // [tokens][columns]
};

// A matrix and where its product goes.
struct Projection {
  const Tensor& weight;
  float* out;  // [tokens][stride]
  size_t stride;
};

enum class Epilogue { store, add };

// The tensors of attention that are no matrices, null where the model has none, and where it works.
struct AttentionInputs {
  AttentionShape shape;
  StateSpec states;  // of the blocks in front
  const float *q_norm, *k_norm, *q_bias, *k_bias, *v_bias;
  // [tokens], row_stride floats apart: of heads query_stride floats apart, of KV heads, again, and of heads as the queries (null:
  // none), each [head_dim]
  const float *queries, *keys, *values, *gates;
  size_t query_stride, row_stride;
  uint8_t* q;       // [tokens][heads][head_dim], query_width(kv) bytes each
  float* q_scales;  // [tokens][heads]
  float* out;       // [tokens][heads][head_dim]
  uint8_t* spare;   // open keys of the chunk's spare pages
};

// One thread's view of a pass.
class Steps {
 public:
  Steps(Worker& worker, Pass& pass) : worker(worker), pass(pass), own_(own_scratch(worker, pass)) {}

  Worker& worker;
  Pass& pass;

  const KernelTable& kernels() const { return pass.kernels; }
  uint32_t tokens() const { return pass.chunk.tokens(); }
  float* x() const { return pass.at<float>(pass.layout.x); }  // [tokens][hidden], the residual stream
  // In the region that the blocks share.
  template <class T>
  T* scratch(size_t offset) const {
    return pass.at<T>(pass.layout.shared + offset);
  }
  WorkerScratch& own() const { return own_; }
  // What `norm` left.
  Rows normed() const { return {normed_values()}; }

  // x, normalized and rounded as its readers want it.
  Rows norm(const Tensor& weight, std::initializer_list<const Tensor*> readers) const;
  // One row [hidden], normalized and rounded into the buffers of a token, for readers of this block; no barrier.
  void norm_row(const float* row, const Tensor& weight, uint32_t block, uint32_t token) const;
  // Rows [tokens][columns of the reader], rounded as it wants them.
  Rows round(const float* rows, const Tensor& reader) const;
  // Products with what `norm` or `round` left, of the first `tokens`.
  void project(Rows rows, std::initializer_list<Projection> projections, Epilogue epilogue, uint32_t tokens) const;
  void project(Rows rows, std::initializer_list<Projection> projections, Epilogue epilogue = Epilogue::store) const {
    project(rows, projections, epilogue, tokens());
  }
  // out[tokens][rows of gate] = silu(gate) * up
  void gate_up(Rows rows, const Tensor& gate, const Tensor& up, float* out) const;
  // out = softmax(rope(norm(q)) rope(norm(k))^T) v * sigmoid(gate), with k and v of all positions before; writes the tokens' own
  // to the cache.
  void attend(const AttentionInputs& inputs) const;

  // Shows an observer what a matrix reads.
  void show(const Tensor& weight, Rows rows, uint32_t tokens, const char* name = nullptr) const;
  // Asks for the first of a turn's matrices, in bytes that this thread will read.
  void expect(uint32_t turn) const;

  // Tokens [0, tokens) as a matrix reads them.
  Activations activations(const MatrixView& reader, Rows rows, uint32_t tokens) const;
  // Where a token's rounded activations lie.
  ActivationBuffers buffers(uint32_t block, uint32_t columns, uint32_t token) const;

  static constexpr size_t kExpectedBytes = size_t{256} << 10;  // that a waiting thread asks for at most: a part of any L2

  // Panels of an item: small items keep the threads level when each is a stream from memory; full ones serve a GEMM's register
  // tiles.
  uint32_t panels_per_item(uint32_t tokens) const { return tokens <= kStreamTokens ? kernels().stream_panels : kGemmPanels; }
  // The same where two matrices take turns: at every change the reads in flight run low.
  static uint32_t panels_in_turns(uint32_t tokens) { return tokens <= kStreamTokens ? 8 : kGemmPanels; }

 private:
  float* normed_values() const { return pass.at<float>(pass.layout.normed); }  // [tokens][hidden]
  static WorkerScratch& own_scratch(const Worker& w, const Pass& pass) {
    return pass.at<WorkerScratch>(pass.layout.workers)[w.index];
  }
  Stream share(std::span<const Tensor* const> matrices, uint32_t step, size_t bytes) const;
  void fetch_cache(const Turn& turn) const;
  uint8_t* open_keys(const AttentionInputs& inputs, uint32_t token) const;
  void pack_full_pages(const AttentionInputs& inputs) const;
  void move_open_keys(const AttentionInputs& inputs) const;
  void rotate_and_store(const AttentionInputs& inputs, uint32_t token, uint32_t first_kv_head, uint32_t kv_heads) const;

  WorkerScratch& own_;
};

// f(first, part) for the tokens of a product, as many at a time as a kernel takes.
template <class F>
void for_each_part(const Activations& all, F&& f) {
  for (uint32_t t = 0; t < all.tokens; t += kGemmTokens) f(t, slice(all, t, std::min(kGemmTokens, all.tokens - t)));
}

}  // namespace q3e
