#include "exec/batch.h"

#include <algorithm>

namespace q3e {

AttentionTiles split_attention(const AttentionShape& shape, const std::vector<Run>& runs, uint32_t threads, bool by_page) {
  AttentionTiles t{shape, {}, 1};
  const uint32_t most = std::max(1u, kAttentionRows / shape.group());
  for (const Run& run : runs)
    for (uint32_t i = 0, count; i < run.count; i += count) {
      const uint32_t position = run.position + i;
      count = std::min(most, run.count - i);
      if (by_page) count = std::min(count, kKvBlock - position % kKvBlock);
      t.tiles.push_back({run.sequence, run.first + i, count, position});
    }
  // The longest first, so that no thread starts a long tile when the others are done.
  std::stable_sort(t.tiles.begin(), t.tiles.end(), [](const Run& a, const Run& b) { return a.position > b.position; });
  // Few rows wait for memory, so that a thread's KV heads are read together, one longer stream.
  uint32_t rows = 1;
  for (const Run& each : t.tiles) rows = std::max(rows, each.count * shape.group());
  t.heads_per_item = std::clamp(kMaxGroup / rows, 1u, (shape.kv_heads + threads - 1) / threads);
  return t;
}

std::vector<Run> find_runs(const Batch& b) {
  std::vector<Run> runs;
  for (size_t i = 0; i < b.count; ++i)
    if (i == 0 || b.sequences[i] != b.sequences[i - 1])
      runs.push_back({static_cast<uint32_t>(b.sequences[i]), static_cast<uint32_t>(i), 1, static_cast<uint32_t>(b.positions[i])});
    else
      ++runs.back().count;
  return runs;
}

void Chunk::prepare(const Batch& part, SequenceStates& states, std::span<const AttentionShape> shapes, uint32_t threads) {
  batch = part;
  runs = find_runs(part);
  alone = runs.size() == part.count;
  token_pages.resize(part.count);
  for (const Run& run : runs) {
    states.grow(run.sequence, run.position + run.count);
    for (uint32_t i = 0; i < run.count; ++i) token_pages[run.first + i] = states.page(run.sequence, run.position + i);
  }
  attention.clear();
  const bool by_page = states.packs_keys();
  for (const AttentionShape& shape : shapes) attention.push_back(split_attention(shape, runs, threads, by_page));
  if (by_page) find_open_pages();
  logits.clear();
  hidden.clear();
  for (uint32_t i = 0; i < part.count; ++i) {
    if (part.want[i] & kWantLogits) logits.push_back(i);
    if (part.want[i] & kWantHidden) hidden.push_back(i);
  }
}

void Chunk::find_open_pages() {
  spare_pages.assign(batch.count, kOwnPage);
  full_pages.clear();
  begun_pages.clear();
  uint32_t count = 0;
  for (const Run& run : runs) {
    const uint32_t before = count;
    for (uint32_t i = 0; i < run.count; ++i) {
      const uint32_t token = run.first + i, row = (run.position + i) % kKvBlock;
      if (i > 0 && row == 0) ++count;
      if (count > before) spare_pages[token] = count - 1;
      if (row == kKvBlock - 1) full_pages.push_back(token);
    }
    if (count > before) begun_pages.push_back(run.first + run.count - 1);
  }
}

const AttentionTiles& Chunk::tiles_of(const AttentionShape& shape) const {
  return *std::find_if(attention.begin(), attention.end(), [&](const AttentionTiles& t) { return t.shape == shape; });
}

}  // namespace q3e
