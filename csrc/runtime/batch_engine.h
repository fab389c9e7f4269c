// What the scheduler asks of an engine: the CPU's (runtime/engine.h), or one of another device.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <span>

#include "exec/batch.h"
#include "exec/cancel_flag.h"

namespace q3e {

struct EngineLimits {
  uint32_t sequences;         // rows of a decoding batch
  uint32_t context;           // tokens of a sequence
  uint32_t chunk;             // tokens of a batch that go through the model at once
  uint32_t vocabulary;        // logits of a row
  uint32_t page_tokens;       // of a page of the KV cache
  uint32_t pages;             // that all sequences share
  uint32_t width;             // of a token's state; 0 where forward gives logits alone
  uint32_t draft_tokens = 0;  // rows of logits that a step may have beside one for each sequence
  // Where truncate, share and reuse reach snapshots alone, the tokens of which these are multiples; 0: they reach anything.
  uint32_t snapshot_unit = 0;

  uint32_t pages_for(uint64_t tokens) const { return static_cast<uint32_t>((tokens + page_tokens - 1) / page_tokens); }
};

// All calls throw Error. Sequences are numbered from 0.
class BatchEngine {
 public:
  virtual ~BatchEngine() = default;

  virtual EngineLimits limits() const = 0;

  // logits: float32 [rows that want them][vocabulary]. hidden: float32 [rows that want it][width], or null. The rows of a
  // sequence are consecutive, at ascending positions that continue it or rewind into it. Throws bad_argument and over_budget,
  // nothing changed; others and cancelled, when the flag is set before the last layer, with these rows taken back as far as
  // `truncate` can: `length` says what is left.
  virtual void forward(const Batch& batch, float* logits, float* hidden, const CancelFlag* cancel) = 0;

  virtual uint32_t length(uint32_t sequence) = 0;
  // Leaves at most `length` tokens of a sequence and returns how many: all of them in a KV cache; where a block overwrites its
  // state, as many as at the last snapshot before (see `snapshot`). The caller computes the rest again.
  virtual uint32_t truncate(uint32_t sequence, uint32_t length) = 0;

  // Which of these free sequences (at least one) is best for a prompt.
  virtual uint32_t choose(std::span<const uint32_t> free, std::span<const int32_t> tokens);
  // Empties a sequence and gives it the longest beginning of `tokens` that was kept, at most all but the last, whose logits are
  // needed: nothing is computed. Returns its length.
  virtual uint32_t reuse(uint32_t sequence, std::span<const int32_t> tokens) = 0;
  // Empties `to` and gives it the first tokens of `from`, at most so many; returns how many: 0 where nothing can be shared.
  virtual uint32_t share(uint32_t from, uint32_t to, uint32_t length);
  // Notes what a sequence's first tokens are, so that others may reuse them. They are as many as its length, or as many whole
  // pages of a sequence that goes on.
  virtual void keep(uint32_t sequence, std::span<const int32_t> tokens) = 0;
  // Makes the present length of a sequence, which has these tokens, one that truncate, share and reuse reach. Does nothing where
  // they reach any.
  virtual void snapshot(uint32_t sequence, std::span<const int32_t> tokens);
  // Pages that batches can take, those included that only `keep` holds.
  virtual uint32_t available_pages() = 0;
  // How many of these a sequence takes to continue from `begin`, at most its length, to `length` tokens: also one for the copy of
  // a page that is another's as well.
  virtual uint32_t needed_pages(uint32_t sequence, uint32_t begin, uint32_t length);

  // Runs f(i) for each i in [0, count), on as many threads as the engine has. f must not throw.
  virtual void for_each(uint32_t count, const std::function<void(uint32_t)>& f);
};

inline uint32_t BatchEngine::choose(std::span<const uint32_t> free, std::span<const int32_t>) { return free.front(); }
inline uint32_t BatchEngine::needed_pages(uint32_t, uint32_t begin, uint32_t length) {
  const EngineLimits each = limits();
  return each.pages_for(std::max(begin, length)) - each.pages_for(begin);
}
inline void BatchEngine::snapshot(uint32_t, std::span<const int32_t>) {}
inline uint32_t BatchEngine::share(uint32_t, uint32_t, uint32_t) { return 0; }
inline void BatchEngine::for_each(uint32_t count, const std::function<void(uint32_t)>& f) {
  for (uint32_t i = 0; i < count; ++i) f(i);
}

}  // namespace q3e
