// The feed-forward part of a layer with experts: which ones each token takes, their products, and the weighted sum.
//
// Rows of activations are grouped by expert ("slots": a token has one in each of its experts), so that an expert's matrices meet
// all its tokens at once. The order in which experts are worked off shows in no result: each one's output of a token has a row of
// its own, and a token adds its rows up in the order of their weights.
#pragma once

#include <vector>

#include "models/expert_source.h"
#include "models/observer.h"
#include "models/workspace.h"

namespace q3e {

class Experts {
 public:
  // All arguments outlive it.
  // min_share: a token leaves out experts whose share of its weights is smaller, and the others take their place; 0 for none.
  Experts(const ModelConfig& config, const Weights& weights, const Workspace& work, ExpertSource& source, float min_share);

  // x += sum of weight * down(silu(gate(n)) * up(n)) over each token's experts, n = norm(x); called by all threads. False when
  // the source cannot read weights: x is spoilt then. next_is_there: the next layer's router can be read, it is not streamed.
  bool run(Worker& w, uint32_t layer, uint32_t tokens, bool next_is_there, Observer* observer);

  // Experts that were chosen and left out, over all tokens and layers. Not while `run` is at work.
  uint64_t left_out() const { return left_out_; }

 private:
  const ScratchLayout::Experts& at() const { return work_.layout().experts; }
  void route(uint32_t token) const;
  void leave_out_small(uint32_t* chosen, float* weights) const;
  void group(uint32_t tokens);
  void begin(uint32_t layer);
  void foresee(Worker& w, uint32_t layer) const;
  void gather(Worker& w, const MatrixView& reader, uint32_t tokens) const;
  void gate_and_up(Worker& w, uint32_t ready, uint32_t tokens) const;
  void round(Worker& w, const MatrixView& reader, uint32_t ready) const;
  void down(Worker& w, const MatrixView& reader, uint32_t ready) const;
  void combine(Worker& w, uint32_t tokens) const;
  void expect_down(Worker& w, uint32_t ready) const;
  template <class F>
  void show(Worker& w, Observer* observer, const char* tensor, uint32_t layer, uint32_t ready, F&& rows) const;
  Activations inputs(const MatrixView& reader, uint32_t expert, uint32_t tokens) const;
  Activations slots(const ScratchLayout::Experts::Rows& from, const MatrixView& reader, uint32_t expert) const;
  uint32_t expert(uint32_t index) const { return wanted_[done_ + index]; }

  const ModelConfig& config_;
  const Weights& weights_;
  const Workspace& work_;
  ExpertSource& source_;
  float min_share_;
  uint64_t left_out_ = 0;

  // The layer at work; written by one thread while the others wait.
  std::vector<uint32_t> wanted_;              // experts that some token chose
  std::vector<uint32_t> first_slot_, count_;  // [experts]
  uint32_t done_ = 0, ready_ = 0;             // of `wanted_`: worked off; and at hand after these
};

}  // namespace q3e
