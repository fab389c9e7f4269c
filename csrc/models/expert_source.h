// Where the engine gets the weights of experts from: arithmetic when all are in memory (ResidentExperts, below), slots that are
// filled from the file while others are computed when they are not.
//
// How they are asked for, in every layer of a chunk (models/experts.cpp):
//
//   one thread   n = begin(layer, experts)   the others wait at a barrier
//   all threads  get(i) with i < n           gate and up of these experts, a barrier, down
//   one thread   end()                       after a barrier: nobody reads what `get` gave any more
//
// and again with experts[n..] until none is left. So what is in memory is worked off, down included, while the others are on
// their way, and a source of few slots is asked for a few at a time. An expert's part of a token does not depend on the order of
// these calls.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "models/weights.h"

namespace q3e {

// One expert of one layer, as blocks of panels of the layer's tensors.
struct ExpertWeights {
  MatrixView gate_up;  // [2 * expert_ffn, hidden], panels of gate and up in turns
  MatrixView down;     // [hidden, expert_ffn]
};

// No call throws or allocates: threads of a team are at work.
class ExpertSource {
 public:
  virtual ~ExpertSource() = default;

  // experts: what the tokens of the chunk chose and is not done yet, each once. May be put in another order: what is in memory
  // comes first. Returns how many these are, after waiting for one when there is none; 0 when the file cannot be read, which ends
  // the chunk.
  virtual uint32_t begin(uint32_t layer, std::span<uint32_t> experts) noexcept = 0;

  // Weights of experts[index], valid until `end`. From any thread, any number of times.
  virtual ExpertWeights get(uint32_t index) noexcept = 0;

  virtual void end() noexcept = 0;

  // Whether it helps to know what the next layer is likely to ask for; then, between `begin` and `end` of the layer in front and
  // from one thread, its experts, the likeliest first.
  virtual bool foresees() const noexcept { return false; }
  virtual void foresee(uint32_t, std::span<const uint32_t>) noexcept {}
};

// Experts in the mapped file.
class ResidentExperts : public ExpertSource {
 public:
  ResidentExperts(const ModelConfig& config, const Weights& weights);
  uint32_t begin(uint32_t layer, std::span<uint32_t> experts) noexcept override;
  ExpertWeights get(uint32_t index) noexcept override;
  void end() noexcept override {}

 private:
  const ModelConfig& config_;
  const Weights& weights_;
  uint32_t layer_ = 0;
  std::span<const uint32_t> experts_;
};

// Rows of one expert in a tensor that holds `experts` of them one after the other.
MatrixView expert_of(const MatrixView& all, uint32_t expert, uint32_t experts);

}  // namespace q3e
