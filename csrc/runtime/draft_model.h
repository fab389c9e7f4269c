// Draft tokens of a smaller model with the same vocabulary (Leviathan et al. 2023; Chen et al. 2023). It reads what the answers
// have, in sequences of the same numbers, and picks with each answer's own sampler: what is drawn for an index is the same for
// both models, so that they agree wherever their distributions mostly do.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "exec/cancel_flag.h"
#include "io/model_file.h"
#include "runtime/batch_engine.h"
#include "runtime/sampler.h"

namespace q3e {

// Whether the tokens that both files have are the same ones; one may have more behind them.
bool same_vocabulary(const ModelFile& a, const ModelFile& b);

class DraftModel {
 public:
  // engine: outlives it. target: the limits of the model that is drafted for. Throws Error: bad_argument for an engine of fewer
  // sequences, a shorter context or other pages; unsupported_model for one that cannot go back token by token.
  DraftModel(BatchEngine& engine, const EngineLimits& target);

  // An answer begins with these tokens: what was kept of them is not read again.
  void begin(uint32_t sequence, std::span<const int32_t> tokens);
  // Its first `length` tokens are also those of another one: what was read of them is not read again.
  void share(uint32_t from, uint32_t to, uint32_t length);
  // It has ended, or makes room; what was read is kept.
  void end(uint32_t sequence, std::span<const int32_t> tokens);
  // Forgets what lies behind so many tokens.
  void cut(uint32_t sequence, uint32_t length);
  // Tokens of it that were read.
  uint32_t length(uint32_t sequence) { return engine_.length(sequence); }

  struct Ask {
    uint32_t sequence;
    std::span<const int32_t> tokens;       // that the answer has; those that were not read yet are
    uint32_t count = 0;                    // of draft tokens; 0: they are read, and no more
    Sampler* sampler = nullptr;            // counts the tokens meanwhile
    std::span<const int32_t> stop_tokens;  // behind which there is nothing to draft
    std::vector<int32_t> drafts{};         // what came of it, fewer where memory is short
  };
  // Forward passes that it took. Throws what the engine throws.
  uint32_t propose(std::span<Ask> asks, const CancelFlag& cancel);

 private:
  void add(const Ask& ask);
  void forward(const CancelFlag& cancel);
  bool pick(Ask& ask, const float* logits) const;

  BatchEngine& engine_;
  const EngineLimits limits_;
  const size_t vocabulary_;  // of the target
  std::vector<int32_t> tokens_, positions_, sequences_;
  std::vector<uint8_t> want_;
  std::vector<float> logits_;  // [rows][vocabulary_]
};

}  // namespace q3e
