// The feed-forward part of a layer with experts (Shazeer et al. 2017, Qwen3's renormalized top-k): which ones each token takes,
// their products, and the weighted sum.
//
// Activations are permuted so that the rows of an expert stand together, a token having one row with each of its experts: an
// expert's matrices meet all its tokens at once. The order in which experts are worked off shows in no result: each one's output
// of a token has a row of its own, and a token adds its rows up in the order of their weights.
#pragma once

#include "models/block.h"

namespace q3e {

class Experts : public Block {
 public:
  explicit Experts(const ModelConfig& config) : Experts(config, 0) {}

  const char* kind() const override { return "experts"; }
  uint32_t experts_per_token() const override { return top_; }
  size_t scratch_bytes(const ScratchRequest& request) const override { return scratch(request).bytes; }
  bool step(const Steps& steps, const BlockPlace& at) const override;

 protected:
  // shared_width: of the expert that every token takes; 0 without one.
  Experts(const ModelConfig& config, uint32_t shared_width);

 private:
  // As matrices read them: float32 [R][columns], int8 [R][activation_stride(columns)], float32 and int32 [R][blocks]
  struct RowBuffers {
    size_t values, quants, scales, sums;
  };
  // The experts of a chunk, grouped; written by one thread while the others wait.
  struct Group {
    uint32_t wanted, done, ready;  // experts that some token chose; of these worked off; and at hand after these
  };
  // R = T * top rows.
  struct Scratch {
    size_t logits, logit_stride;         // float32 [T][logit_stride]
    size_t chosen, weights, rows;        // uint32, float32, uint32 [T][top]
    RowBuffers input, hidden;            // columns: hidden, width
    size_t out;                          // float32 [R][hidden]
    size_t shared;                       // float32 [T][shared width]
    size_t likely_input, likely_logits;  // float32 [hidden], [logit_stride]: one token's, as the next layer's router sees it
    size_t group;                        // Group
    size_t wanted, first_row, count;     // uint32 [experts]: which are wanted; the first row of each, and how many
    size_t bytes;
  };
  Scratch scratch(const ScratchRequest& request) const;
  class Step;  // one thread's, of one chunk

  uint32_t hidden_, experts_, top_, width_, shared_width_;
  bool normalize_;
  uint32_t norm_, router_, gate_up_, down_;
  uint32_t shared_share_ = 0, shared_gate_ = 0, shared_up_ = 0, shared_down_ = 0;  // of a shared expert
};

}  // namespace q3e
