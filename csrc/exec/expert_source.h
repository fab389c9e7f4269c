// Where a block gets the weights of experts from: arithmetic when all are in memory (ResidentExperts, below), slots that are
// filled from the file while others are computed when they are not.
//
// How they are asked for, in every block of a chunk that has a pool of them (models/experts.cpp):
//
//   one thread   n = begin(pool, experts)    the others wait at a barrier
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

#include "exec/tensor.h"

namespace q3e {

// One expert, as blocks of panels of its pool's tensors.
struct ExpertWeights {
  MatrixView gate_up;  // [2 * expert_ffn, hidden], panels of gate and up in turns
  MatrixView down;     // [hidden, expert_ffn]
};

// The experts of one block, one after the other in both tensors. Pools are numbered in the order of the blocks.
struct ExpertPool {
  MatrixView gate_up, down;
  uint32_t experts, experts_per_token;

  ExpertWeights expert(uint32_t index) const;
};

// No call throws or allocates: threads of a team are at work.
class ExpertSource {
 public:
  virtual ~ExpertSource() = default;

  // experts: what the tokens of the chunk chose and is not done yet, each once. May be put in another order: what is in memory
  // comes first. Returns how many these are, after waiting for one when there is none; 0 when the file cannot be read, which ends
  // the chunk.
  virtual uint32_t begin(uint32_t pool, std::span<uint32_t> experts) noexcept = 0;

  // Weights of experts[index], valid until `end`. From any thread, any number of times.
  virtual ExpertWeights get(uint32_t index) noexcept = 0;

  virtual void end() noexcept = 0;

  // Whether it helps to know what the next pool is likely to be asked for; then, between `begin` and `end` of the pool in front
  // and from one thread, its experts, the likeliest first.
  virtual bool foresees() const noexcept { return false; }
  virtual void foresee(uint32_t, std::span<const uint32_t>) noexcept {}
};

// Experts in the mapped file.
class ResidentExperts : public ExpertSource {
 public:
  explicit ResidentExperts(std::span<const ExpertPool> pools) : pools_(pools.begin(), pools.end()) {}
  uint32_t begin(uint32_t pool, std::span<uint32_t> experts) noexcept override;
  ExpertWeights get(uint32_t index) noexcept override { return pools_[pool_].expert(experts_[index]); }
  void end() noexcept override {}

 private:
  std::vector<ExpertPool> pools_;
  uint32_t pool_ = 0;
  std::span<const uint32_t> experts_;
};

}  // namespace q3e
