#include "exec/steps.h"

#include <algorithm>
#include <cstring>

namespace q3e {

// ---- what matrices read ----

void Steps::norm_row(const float* row, const Tensor& weight, uint32_t block, uint32_t token) const {
  const uint32_t hidden = pass.sizes.hidden;
  const float epsilon = pass.sizes.epsilon;
  const ActivationBuffers b = buffers(block, hidden, token);
  if (block)
    kernels().rmsnorm_quantize(row, weight.vector, hidden, epsilon, block, b.quants, b.scales, b.sums);
  else
    kernels().rmsnorm(row, weight.vector, hidden, epsilon, b.values);
}

Rows Steps::norm(const Tensor& weight, std::initializer_list<const Tensor*> readers) const {
  worker.for_each(tokens(), [&](uint32_t t) {
    const float* row = x() + size_t{t} * pass.sizes.hidden;
    for (const auto* reader = readers.begin(); reader != readers.end(); ++reader) {
      const uint32_t block = (*reader)->matrix.format->block;
      if (std::any_of(readers.begin(), reader, [&](const Tensor* m) { return m->matrix.format->block == block; })) continue;
      norm_row(row, weight, block, t);
    }
  });
  show(**readers.begin(), normed(), tokens());
  return normed();
}

Rows Steps::round(const float* rows, const Tensor& reader) const {
  const uint32_t block = reader.matrix.format->block, columns = reader.matrix.columns;
  if (block)
    worker.for_each(tokens(), [&](uint32_t t) {
      const ActivationBuffers b = buffers(block, columns, t);
      kernels().quantize(rows + size_t{t} * columns, columns, block, b.quants, b.scales, b.sums);
    });
  show(reader, {rows}, tokens());
  return {rows};
}

ActivationBuffers Steps::buffers(uint32_t block, uint32_t columns, uint32_t token) const {
  const ScratchLayout& layout = pass.layout;
  if (block == 0) return {normed_values() + size_t{token} * columns, nullptr, nullptr, nullptr};
  const auto& q =
      *std::find_if(layout.quantized.begin(), layout.quantized.end(), [&](const auto& b) { return b.block == block; });
  const size_t blocks = (columns + block - 1) / block;
  return {nullptr, pass.at<int8_t>(q.quants) + size_t{token} * activation_stride(columns),
          pass.at<float>(q.scales) + token * blocks, pass.at<int32_t>(q.sums) + token * blocks};
}

Activations Steps::activations(const MatrixView& reader, Rows rows, uint32_t tokens) const {
  const uint32_t block = reader.format->block, columns = reader.columns, stride = activation_stride(columns);
  if (block == 0) return {tokens, columns, stride, 0, rows.values, nullptr, nullptr, nullptr};
  const ActivationBuffers b = buffers(block, columns, 0);
  return {tokens, columns, stride, block, nullptr, b.quants, b.scales, b.sums};
}

void Steps::show(const Tensor& weight, Rows rows, uint32_t tokens, const char* name) const {
  if (!pass.observer || tokens == 0) return;
  worker.for_each(1, [&](uint32_t) {
    show_activations(*pass.observer, name ? name : weight.spec->name, weight.layer, -1, activations(weight.matrix, rows, tokens));
  });
}

// ---- products ----

void Steps::project(Rows rows, std::initializer_list<Projection> projections, Epilogue epilogue, uint32_t tokens) const {
  const uint32_t turn = projections.begin()->weight.turn;
  fetch_cache(pass.turns[turn]);
  expect(turn + 1);
  const uint32_t step = panels_per_item(tokens);
  uint32_t items = 0;
  for (const Projection& p : projections) items += (p.weight.matrix.panels() + step - 1) / step;
  worker.for_each(items, [&](uint32_t item) {
    const Projection* p = projections.begin();
    for (uint32_t own; item >= (own = (p->weight.matrix.panels() + step - 1) / step); ++p) item -= own;
    const MatrixView& m = p->weight.matrix;
    const uint32_t first = item * step, last = std::min(first + step, m.panels()), width = (last - first) * kPanelRows;
    for_each_part(activations(m, rows, tokens), [&](uint32_t t, const Activations& part) {
      float* out = p->out + t * p->stride + size_t{first} * kPanelRows;
      if (epilogue == Epilogue::store) return kernels().matmul(m, first, last, part, out, p->stride, own_.matmul);
      kernels().matmul(m, first, last, part, own_.tile, width, own_.matmul);
      for (uint32_t i = 0; i < part.tokens; ++i)
        for (uint32_t r = 0; r < width; ++r) out[i * p->stride + r] += own_.tile[i * width + r];
    });
  });
}

// Both products of an item stay in the thread's own tiles until silu(gate) * up is written.
void Steps::gate_up(Rows rows, const Tensor& gate, const Tensor& up, float* out) const {
  expect(gate.turn + 1);
  const uint32_t panels = gate.matrix.panels(), step = panels_in_turns(tokens()), columns = gate.matrix.rows;
  worker.for_each((panels + step - 1) / step, [&](uint32_t item) {
    const uint32_t first = item * step, last = std::min(first + step, panels), width = (last - first) * kPanelRows;
    for (uint32_t t = 0; t < tokens(); t += kGemmTokens) {
      const uint32_t n = std::min(kGemmTokens, tokens() - t);
      const auto multiply = [&](const MatrixView& m, float* tile) {
        const Activations part = slice(activations(m, rows, tokens()), t, n);
        for (uint32_t p = first; p < last; p += kGemmPanels)
          kernels().matmul(m, p, std::min(p + kGemmPanels, last), part, tile + (p - first) * kPanelRows, width, own_.matmul);
      };
      multiply(gate.matrix, own_.tile);
      multiply(up.matrix, own_.tile2);
      for (uint32_t i = 0; i < n; ++i)
        kernels().silu_mul(own_.tile + i * width, own_.tile2 + i * width, width,
                           out + size_t{t + i} * columns + size_t{first} * kPanelRows);
    }
  });
}

// ---- attention ----

// Where the keys of a token's page wait, while keys are packed by page.
uint8_t* Steps::open_keys(const AttentionInputs& in, uint32_t token) const {
  const uint32_t spare = pass.chunk.spare_pages[token];
  if (spare == Chunk::kOwnPage)
    return pass.states.open_keys(static_cast<uint32_t>(pass.chunk.batch.sequences[token])) + in.states.open_bytes;
  return in.spare + spare * in.shape.kv_heads * open_keys_bytes(in.shape.head_dim);
}

// What later tokens read of a page that is full now.
void Steps::pack_full_pages(const AttentionInputs& in) const {
  const std::vector<uint32_t>& full = pass.chunk.full_pages;
  if (full.empty()) return;
  const auto& [heads, kv_heads, d] = in.shape;
  const size_t block = kv_block_layout(pass.request.kv, d).bytes;
  worker.for_each(static_cast<uint32_t>(full.size()) * kv_heads, [&, kv_heads = kv_heads, d = d](uint32_t item) {
    const uint32_t token = full[item / kv_heads], head = item % kv_heads;
    uint8_t* page = pass.chunk.token_pages[token] + in.states.page_bytes;
    kernels().pack_keys(open_keys(in, token) + head * open_keys_bytes(d), d, page + head * block);
  });
}

// A sequence keeps the open keys of its last page, which some tokens of the chunk may have begun.
void Steps::move_open_keys(const AttentionInputs& in) const {
  const std::vector<uint32_t>& last = pass.chunk.begun_pages;
  if (last.empty()) return;
  worker.for_each(static_cast<uint32_t>(last.size()), [&](uint32_t i) {
    uint8_t* own = pass.states.open_keys(static_cast<uint32_t>(pass.chunk.batch.sequences[last[i]])) + in.states.open_bytes;
    std::memcpy(own, open_keys(in, last[i]), in.shape.kv_heads * open_keys_bytes(in.shape.head_dim));
  });
}

// Query, key and value of one token, for some KV heads and the query heads that share them.
void Steps::rotate_and_store(const AttentionInputs& in, uint32_t token, uint32_t first_kv_head, uint32_t kv_heads) const {
  const auto& [heads, all_kv_heads, d] = in.shape;
  RopeTask task{};
  const size_t row = token * in.row_stride;
  task.queries = in.queries + row;
  task.keys = in.keys + row;
  task.values = in.values + row;
  task.query_stride = in.query_stride;
  task.q_bias = in.q_bias;
  task.k_bias = in.k_bias;
  task.v_bias = in.v_bias;
  task.q_weight = in.q_norm;
  task.k_weight = in.k_norm;
  task.cos_sin = pass.at<float>(pass.layout.cos_sin) + size_t{token} * pass.sizes.rotated;
  task.eps = pass.sizes.epsilon;
  task.heads = heads;
  task.kv_heads = all_kv_heads;
  task.head_dim = d;
  task.rotated = pass.sizes.rotated;
  task.type = pass.request.kv;
  task.q = in.q + size_t{token} * heads * d * query_width(task.type);
  task.q_scales = in.q_scales + size_t{token} * heads;
  task.page = pass.chunk.token_pages[token] + in.states.page_bytes;
  if (packs_keys(task.type)) task.open_keys = open_keys(in, token);
  task.row = static_cast<uint32_t>(pass.chunk.batch.positions[token]) % kKvBlock;
  task.first = first_kv_head;
  task.count = kv_heads;
  kernels().qk_norm_rope(task);
}

void Steps::attend(const AttentionInputs& in) const {
  const KvType type = pass.request.kv;
  const AttentionTiles& tiles = pass.chunk.tiles_of(in.shape);
  const size_t q_width = query_width(type), head_bytes = kv_block_layout(type, in.shape.head_dim).bytes;
  const uint32_t group = in.shape.group(), together = tiles.heads_per_item, parts = tiles.parts();
  const uint32_t items = static_cast<uint32_t>(tiles.tiles.size()) * parts;
  const auto first_block = [&](uint32_t item) { return in.states.page_bytes + item % parts * together * head_bytes; };
  // The tokens of a run read each other's keys, so that all are written first; a token alone needs its own only.
  const bool alone = pass.chunk.alone && pass.chunk.full_pages.empty();
  if (!alone) worker.for_each(tokens(), [&](uint32_t t) { rotate_and_store(in, t, 0, in.shape.kv_heads); });
  pack_full_pages(in);
  worker.for_each(items, [&](uint32_t item) {
    const Run& tile = tiles.tiles[item / parts];
    const uint32_t kv_head = item % parts * together, own_heads = std::min(together, in.shape.kv_heads - kv_head);
    if (alone) rotate_and_store(in, tile.first, kv_head, own_heads);
    const size_t first_head = size_t{tile.first} * in.shape.heads + size_t{kv_head} * group;
    AttentionTask task{};
    task.q = in.q + first_head * in.shape.head_dim * q_width;
    task.q_scales = in.q_scales + first_head;
    task.q_stride = in.shape.heads;
    task.heads = own_heads;
    task.tokens = tile.count;
    task.group = group;
    task.head_dim = in.shape.head_dim;
    task.position = tile.position;
    task.type = type;
    task.pages = pass.states.pages(tile.sequence);
    task.offset = first_block(item);
    if (packs_keys(type)) task.open_keys = open_keys(in, tile.first) + kv_head * open_keys_bytes(task.head_dim);
    if (item + 1 < items) task.next = pass.states.pages(tiles.tiles[(item + 1) / parts].sequence)[0] + first_block(item + 1);
    task.out = in.out + first_head * in.shape.head_dim;
    task.scratch = own_.attention;
    kernels().attention(task);
    for (uint32_t i = 0; in.gates && i < tile.count; ++i)
      for (uint32_t h = kv_head * group; h < (kv_head + own_heads) * group; ++h)
        kernels().sigmoid_mul(in.gates + (tile.first + i) * in.row_stride + h * in.query_stride, in.shape.head_dim,
                              in.out + ((size_t{tile.first} + i) * in.shape.heads + h) * in.shape.head_dim);
  });
  move_open_keys(in);
}

// ---- what a thread reads next ----

// The first bytes of a worker's share of matrices whose rows are handed out one after the other, `step` panels an item.
Stream Steps::share(std::span<const Tensor* const> matrices, uint32_t step, size_t bytes) const {
  if (tokens() > kStreamTokens) return {};  // bound by arithmetic
  uint32_t items = 0;
  for (const Tensor* t : matrices) items += (t->matrix.panels() + step - 1) / step;
  uint32_t item = worker.first_of(items);
  for (const Tensor* t : matrices) {
    const MatrixView& m = t->matrix;
    const uint32_t own = (m.panels() + step - 1) / step;
    if (item < own) {
      const uint8_t* begin = m.data + size_t{item} * step * m.layout.bytes;
      return {begin, std::min(begin + bytes, m.data + m.panels() * m.layout.bytes)};
    }
    item -= own;
  }
  return {};
}

void Steps::expect(uint32_t turn) const {
  const Turn& next = pass.turns[turn % pass.turns.size()];
  if (!next.is_there || next.tensors.empty()) return worker.expect({});
  const std::span<const Tensor* const> all = next.tensors;
  if (!all.front()->spec->alternating) return worker.expect(share(all, panels_per_item(tokens()), kExpectedBytes));
  const uint32_t step = panels_in_turns(tokens());
  worker.expect(share(all.first(1), step, kExpectedBytes / 2), share(all.last(1), step, kExpectedBytes / 2));
}

// Asks for the first page that this worker's attention will read, which would otherwise begin with a wait for memory.
void Steps::fetch_cache(const Turn& turn) const {
  if (!turn.cache || !pass.chunk.alone || tokens() > kStreamTokens) return;  // a prefill reads its cache many times
  const AttentionTiles& tiles = pass.chunk.tiles_of(*turn.cache);
  const uint32_t parts = tiles.parts();
  const uint32_t item = worker.first_of(static_cast<uint32_t>(tiles.tiles.size()) * parts);
  const Run& tile = tiles.tiles[std::min<size_t>(item / parts, tiles.tiles.size() - 1)];
  if (tile.position < kKvBlock) return;  // the first page is the last, and short
  const size_t bytes = tiles.heads_per_item * kv_block_layout(pass.request.kv, turn.cache->head_dim).bytes;
  const uint8_t* page = pass.states.pages(tile.sequence)[0] + turn.page_offset + item % parts * bytes;
  fetch_far({page, page + std::min<size_t>(bytes, kExpectedBytes)});
}

}  // namespace q3e
