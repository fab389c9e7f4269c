// What a forward pass is asked, and how a part of it is split for the threads.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "exec/sequence_states.h"

namespace q3e {

// What a row of a batch wants, as bits.
enum Want : uint8_t {
  kWantLogits = 1,  // of the token behind it
  kWantHidden = 2,  // the state after the final norm: an embedding of all that was read
};

// One ragged batch: prefill chunks, decode rows and draft tokens together. All arrays are [count].
struct Batch {
  const int32_t* tokens;
  const int32_t* positions;  // in the sequence's state
  const int32_t* sequences;
  const uint8_t* want;  // bits of Want
  size_t count;
  const int32_t* rope_positions = nullptr;  // [count][3], time, height and width, where they are not `positions` three times
  // [count] rows that take the place of a token's row of the embedding, float32 [hidden]; null for those that are tokens, or
  // null. The token of such a row is a key of its content, any number, which caches of prefixes compare.
  const float* const* embeddings = nullptr;

  Batch part(size_t first, size_t n) const {
    return {tokens + first,
            positions + first,
            sequences + first,
            want + first,
            n,
            rope_positions ? rope_positions + 3 * first : nullptr,
            embeddings ? embeddings + first : nullptr};
  }
};

// Consecutive tokens of one sequence. first: index in the batch; position: of that token.
struct Run {
  uint32_t sequence, first, count, position;
};

std::vector<Run> find_runs(const Batch& batch);

struct AttentionShape {
  uint32_t heads, kv_heads, head_dim;

  uint32_t group() const { return heads / kv_heads; }
  bool operator==(const AttentionShape&) const = default;
};

// How the attention of heads of a shape is handed out: runs in tiles of some tokens, with some KV heads each.
struct AttentionTiles {
  AttentionShape shape;
  std::vector<Run> tiles;
  uint32_t heads_per_item;

  uint32_t parts() const { return (shape.kv_heads + heads_per_item - 1) / heads_per_item; }
};

// by_page: no tile has tokens of two pages.
AttentionTiles split_attention(const AttentionShape& shape, const std::vector<Run>& runs, uint32_t threads, bool by_page);

// The part of a batch that goes through the model at once.
struct Chunk {
  Batch batch{};
  std::vector<Run> runs;
  std::vector<uint8_t*> token_pages;      // [tokens] the page that holds the token's own position
  std::vector<AttentionTiles> attention;  // for each shape that the model has
  std::vector<uint32_t> logits, hidden;   // tokens that want them
  // Where keys are packed by page: a sequence has room for the open keys of one page. Those of the further pages that a run
  // reaches into are the chunk's, for one block at a time.
  static constexpr uint32_t kOwnPage = UINT32_MAX;
  std::vector<uint32_t> spare_pages;  // [tokens] in which of the chunk's pages a token's key waits, or kOwnPage
  std::vector<uint32_t> full_pages;   // tokens that fill their page
  std::vector<uint32_t> begun_pages;  // the last tokens of runs that end in one of the chunk's pages
  bool alone = false;                 // every run is one token

  uint32_t tokens() const { return static_cast<uint32_t>(batch.count); }
  static uint32_t most_spare_pages(uint32_t tokens, uint32_t sequences) {
    return tokens / kKvBlock + std::min(sequences, tokens / 2);
  }
  // Grows the states of its sequences. Allocates.
  void prepare(const Batch& part, SequenceStates& states, std::span<const AttentionShape> shapes, uint32_t threads);
  const AttentionTiles& tiles_of(const AttentionShape& shape) const;

 private:
  void find_open_pages();
};

}  // namespace q3e
