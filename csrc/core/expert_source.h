// Where the engine gets the weights of experts from: arithmetic when all are in memory (ResidentExperts, below), slots that are
// filled from the file while others are computed when they are not.
//
// How they are asked for, in every layer of a chunk (core/experts.cpp):
//
//   one thread   n = begin(layer, experts)   the others wait at a barrier
//   all threads  get(i) with i < n           gate and up of these experts, a barrier, down: each waits for what it reads only
//   one thread   end()                       after a barrier: nobody reads what `get` gave any more
//
// and again with experts[n..] until none is left. So a source of few slots is asked for a few at a time, and may fill the slots
// of the next ones from `begin` on. An expert's part of a token does not depend on the order of these calls.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/weights.h"

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

  // experts: what the tokens of the chunk chose and is not done yet, each once. May be put in the order in which they are best
  // worked off, what is in memory first. Returns how many of the first ones `get` may be asked for; 0 when the file cannot be
  // read, which ends the chunk.
  virtual uint32_t begin(uint32_t layer, std::span<uint32_t> experts) noexcept = 0;

  // Weights of experts[index], valid until `end`; waits until they are there. From any thread, any number of times. When they
  // cannot be read, the views are of memory that can be read, whatever is in it, and the next `begin` returns 0.
  virtual ExpertWeights get(uint32_t index) noexcept = 0;

  virtual void end() noexcept = 0;

  // Whether `get` never waits.
  virtual bool resident() const noexcept { return false; }
};

// Experts in the mapped file.
class ResidentExperts : public ExpertSource {
 public:
  ResidentExperts(const ModelConfig& config, const Weights& weights);
  uint32_t begin(uint32_t layer, std::span<uint32_t> experts) noexcept override;
  ExpertWeights get(uint32_t index) noexcept override;
  void end() noexcept override {}
  bool resident() const noexcept override { return true; }

 private:
  const ModelConfig& config_;
  const Weights& weights_;
  uint32_t layer_ = 0;
  std::span<const uint32_t> experts_;
};

// Rows of one expert in a tensor that holds `experts` of them one after the other.
MatrixView expert_of(const MatrixView& all, uint32_t expert, uint32_t experts);

}  // namespace q3e
