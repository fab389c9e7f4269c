#include "runtime/engine.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "base/error.h"
#include "base/rounding.h"
#include "exec/rotary.h"
#include "ukernels/unpack_row.h"

namespace q3e {

namespace {
constexpr size_t kExpectedBytes = size_t{256} << 10;  // that a waiting thread asks for at most: a part of any L2

Error cancelled() { return {Status::cancelled, "forward: cancelled, and the tokens of this call were taken back"}; }
}  // namespace

struct Engine::Run {
  uint32_t slot, first, count, position;  // first: index in the batch; position: of that token
};

struct Engine::AttentionTile {
  uint32_t slot, first, count, position;
};

Engine::Engine(std::shared_ptr<const ModelFile> file, const PlanRequest& request, Isa isa)
    : file_(std::move(file)),
      config_(read_model_config(*file_)),
      plan_(make_plan(*file_, config_, Weights(*file_, config_), request)),
      store_(file_, config_, plan_.residence, request.reader),
      weights_(store_.weights()),
      kernels_(kernel_table(isa)),
      work_(config_, kernels_,
            {config_, activation_blocks(weights_), plan_.settings.kv, plan_.settings.chunk, plan_.settings.threads}),
      cache_({plan_.settings.kv, config_.layers, config_.kv_heads, config_.head_size}, plan_.settings.sequences,
             plan_.settings.context),
      threads_(static_cast<int>(plan_.settings.threads)) {
  if (config_.heads / config_.kv_heads > kMaxGroup)
    throw Error(Status::unsupported_model, "attention: expected at most " + std::to_string(kMaxGroup) +
                                               " query heads a KV head, found " +
                                               std::to_string(config_.heads / config_.kv_heads));
  if (!config_.is_moe()) return;
  if (const uint32_t slots = plan_.residence.expert_slots; slots > 0) {
    auto source = std::make_unique<ExpertSlots>(file_, config_, weights_, slots, request.reader);
    expert_slots_ = source.get();
    expert_source_ = std::move(source);
  } else {
    expert_source_ = std::make_unique<ResidentExperts>(config_, weights_);
  }
  experts_ = std::make_unique<Experts>(config_, weights_, work_, *expert_source_, plan_.settings.min_expert_share);
}

Engine::~Engine() = default;

// ---- the call ----

Engine::Call::Call(Engine& engine) : engine_(engine), lock_(engine.mutex_) {
  if (engine_.busy_)  // by a thread that this process does not have
    throw Error(Status::bad_argument,
                "fork: expected a model that no thread was using when the process forked, found one in a call: load it again");
  engine_.busy_ = true;
}

void Engine::check_slot(uint32_t slot) const {
  if (slot >= cache_.sequences())
    throw Error(Status::bad_argument,
                "slot: expected 0 to " + std::to_string(cache_.sequences() - 1) + ", found " + std::to_string(slot));
}

EngineMetrics Engine::metrics() {
  const Call call(*this);
  const ExpertMetrics experts = expert_slots_ ? expert_slots_->metrics() : ExpertMetrics{};
  return {store_.bytes_read() + experts.bytes_read,
          store_.seconds_waited() + experts.wait_seconds,
          experts.hits,
          experts.misses,
          experts.guesses,
          experts.right_guesses,
          experts_ ? experts_->left_out() : 0};
}

uint32_t Engine::length(uint32_t slot) {
  const Call call(*this);
  check_slot(slot);
  return cache_.length(slot);
}

void Engine::truncate(uint32_t slot, uint32_t length) {
  const Call call(*this);
  check_slot(slot);
  if (length > cache_.length(slot))
    throw Error(Status::bad_argument, "length: expected at most the " + std::to_string(cache_.length(slot)) +
                                          " tokens in the cache, found " + std::to_string(length));
  cache_.truncate(slot, length);
}

void Engine::observe(std::shared_ptr<Observer> observer) {
  const Call call(*this);
  observer_ = std::move(observer);
}

std::shared_ptr<Observer> Engine::observer() {
  const Call call(*this);
  return observer_;
}

std::vector<Engine::Run> Engine::find_runs(const Batch& b) const {
  std::vector<Run> runs;
  for (size_t i = 0; i < b.count; ++i)
    if (i == 0 || b.slots[i] != b.slots[i - 1])
      runs.push_back({static_cast<uint32_t>(b.slots[i]), static_cast<uint32_t>(i), 1, static_cast<uint32_t>(b.positions[i])});
    else
      ++runs.back().count;
  return runs;
}

void Engine::check(const Batch& b) const {
  const auto fail = [](const char* what, size_t i, int64_t high, int64_t found) {
    throw Error(Status::bad_argument, std::string(what) + " of batch entry " + std::to_string(i) + ": expected 0 to " +
                                          std::to_string(high) + ", found " + std::to_string(found));
  };
  std::vector<bool> seen(cache_.sequences());
  for (size_t i = 0; i < b.count; ++i) {
    if (b.tokens[i] < 0 || static_cast<uint32_t>(b.tokens[i]) >= config_.vocab_size)
      fail("token", i, config_.vocab_size - 1, b.tokens[i]);
    if (b.slots[i] < 0 || static_cast<uint32_t>(b.slots[i]) >= cache_.sequences())
      fail("slot", i, cache_.sequences() - 1, b.slots[i]);
    if (b.positions[i] < 0 || static_cast<uint32_t>(b.positions[i]) >= cache_.context())
      fail("position", i, cache_.context() - 1, b.positions[i]);
    if (i > 0 && b.slots[i] == b.slots[i - 1]) {
      if (b.positions[i] != b.positions[i - 1] + 1)
        throw Error(Status::bad_argument, "position of batch entry " + std::to_string(i) + ": expected " +
                                              std::to_string(b.positions[i - 1] + 1) + ", found " +
                                              std::to_string(b.positions[i]));
      continue;
    }
    if (seen[b.slots[i]])
      throw Error(Status::bad_argument, "slot " + std::to_string(b.slots[i]) + ": expected consecutive entries, found two runs");
    seen[b.slots[i]] = true;
    if (static_cast<uint32_t>(b.positions[i]) > cache_.length(b.slots[i]))
      fail("position", i, cache_.length(b.slots[i]), b.positions[i]);
  }
}

void Engine::forward(const Batch& batch, float* logits, const CancelFlag* cancel) {
  const Call call(*this);
  const DefaultRounding rounding;
  cancel_ = cancel;
  check(batch);
  if (generation_ != process_generation()) {
    store_.renew();
    if (expert_slots_) expert_slots_->renew();
    generation_ = process_generation();
  }
  file_->require_undamaged();
  for (const Run& run : find_runs(batch)) cache_.truncate(run.slot, run.position);
  try {
    run_chunks(batch, logits);
  } catch (...) {  // what was there before is still right
    for (const Run& run : find_runs(batch)) cache_.truncate(run.slot, run.position);
    throw;
  }
  if (file_->damaged())
    for (const Run& run : find_runs(batch)) cache_.truncate(run.slot, 0);
  file_->require_undamaged();
}

void Engine::run_chunks(const Batch& batch, float* logits) {
  for (size_t i = 0; i < batch.count; i += plan_.settings.chunk) {
    const size_t n = std::min<size_t>(plan_.settings.chunk, batch.count - i);
    const Batch chunk{batch.tokens + i, batch.positions + i, batch.slots + i, batch.want_logits + i, n};
    run_chunk(chunk, logits);
    logits += wanted_.size() * config_.vocab_size;
  }
}

void Engine::prepare(const Batch& chunk) {
  chunk_ = chunk;
  token_pages_.resize(chunk.count);
  tiles_.clear();
  wanted_.clear();
  const uint32_t group = config_.heads / config_.kv_heads, tile = std::max(1u, kAttentionRows / group);
  const std::vector<Run> runs = find_runs(chunk);
  alone_ = runs.size() == chunk.count;
  for (const Run& run : runs) {
    cache_.grow(run.slot, run.position + run.count);
    for (uint32_t i = 0; i < run.count; ++i) token_pages_[run.first + i] = cache_.page(run.slot, run.position + i);
    for (uint32_t i = 0; i < run.count; i += tile)
      tiles_.push_back({run.slot, run.first + i, std::min(tile, run.count - i), run.position + i});
  }
  // The longest first, so that no thread starts a long tile when the others are done.
  std::stable_sort(tiles_.begin(), tiles_.end(),
                   [](const AttentionTile& a, const AttentionTile& b) { return a.position > b.position; });
  // Few rows wait for memory, so that a thread's KV heads are read together, one longer stream.
  uint32_t rows = 1;
  for (const AttentionTile& t : tiles_) rows = std::max(rows, t.count * group);
  heads_per_item_ = std::clamp(kMaxGroup / rows, 1u, (config_.kv_heads + plan_.settings.threads - 1) / plan_.settings.threads);
  for (uint32_t i = 0; i < chunk.count; ++i)
    if (chunk.want_logits[i]) wanted_.push_back(i);
  if (store_.embeds_by_row())
    for (size_t i = 0; i < chunk.count; ++i)
      store_.embed(static_cast<uint32_t>(chunk.tokens[i]), at<float>(layout_.x) + i * config_.hidden_size);
}

void Engine::run_chunk(const Batch& chunk, float* logits) {
  ends_early_ = cancel_ && cancel_->is_set();
  if (ends_early_) throw cancelled();
  prepare(chunk);
  store_.begin_pass(!wanted_.empty());
  if (!store_.streams_head()) store_.acquire_head(0, head_part_);
  threads_.run([&](Worker& w) {
    expect_layer(w, 0);
    embed(w);
    for (uint32_t layer = 0; layer < config_.layers; ++layer) {
      if (!enter(w, layer)) return;
      attention_block(w, layer);
      if (w.index == 0) ends_early_ = cancel_ && cancel_->is_set();
      if (!feed_forward(w, layer)) return;
      leave(w, store_.streams(layer));
      // One thread looked for all, who would disagree else; the barriers of both blocks keep its next look from this one.
      if (ends_early_) return;
    }
    head(w, logits);
  });
  store_.require_read();
  if (expert_slots_) expert_slots_->require_read();
  if (ends_early_) throw cancelled();
}

// ---- weights that are not resident ----

// All threads wait for a streamed layer; false when it could not be read.
bool Engine::enter(Worker& w, uint32_t layer) {
  if (!store_.streams(layer)) return true;
  if (w.index == 0) store_.acquire_layer(layer);
  w.barrier();
  return !store_.failed();
}

bool Engine::enter_head(Worker& w, uint32_t part) {
  if (!store_.streams_head()) return true;
  if (w.index == 0) store_.acquire_head(part, head_part_);
  w.barrier();
  return !store_.failed();
}

// Every thread is done with what it entered, as the last step ended with a barrier: the next reads may begin.
void Engine::leave(Worker& w, bool streamed) {
  if (streamed && w.index == 0) store_.release();
}

// ---- the model ----

void Engine::embed(Worker& w) {
  w.for_each(static_cast<uint32_t>(chunk_.count), [&](uint32_t t) {
    if (!store_.embeds_by_row())
      unpack_row(weights_.embedding, static_cast<uint32_t>(chunk_.tokens[t]),
                 at<float>(layout_.x) + size_t{t} * config_.hidden_size);
    fill_cos_sin(static_cast<uint32_t>(chunk_.positions[t]), weights_.rope_frequencies, config_.head_size / 2,
                 at<float>(layout_.cos_sin) + size_t{t} * config_.head_size);
  });
}

// x += o(attention(rope(norm(q(n))), rope(norm(k(n))), v(n))) with n = norm(x)
void Engine::attention_block(Worker& w, uint32_t layer) {
  const LayerWeights& l = weights_.layers[layer];
  const auto tokens = static_cast<uint32_t>(chunk_.count);
  float *x = at<float>(layout_.x), *qkv = at<float>(layout_.qkv), *attention = at<float>(layout_.attention);
  const size_t stride = config_.query_size() + 2 * config_.kv_size();
  work_.norm(w, x, l.attn_norm, tokens, {&l.q, &l.k, &l.v});
  show(w, "attn_q", static_cast<int32_t>(layer), l.q, at<float>(layout_.normed), tokens);
  fetch_cache(w, layer);
  expect(w, {&l.attn_output});
  work_.project(w,
                {{&l.q, qkv, stride},
                 {&l.k, qkv + config_.query_size(), stride},
                 {&l.v, qkv + config_.query_size() + config_.kv_size(), stride}},
                tokens, at<float>(layout_.normed), Epilogue::store);
  attend(w, layer);
  work_.round(w, attention, config_.query_size(), tokens, l.attn_output);
  show(w, "attn_output", static_cast<int32_t>(layer), l.attn_output, attention, tokens);
  if (experts_)
    expect(w, {&l.router});
  else
    expect_in_turns(w, l.gate, l.up);
  work_.project(w, {{&l.attn_output, x, config_.hidden_size}}, tokens, attention, Epilogue::add);
}

// x += down(silu(gate(n)) * up(n)) with n = norm(x), or the same of experts; false when weights could not be read
bool Engine::feed_forward(Worker& w, uint32_t layer) {
  if (experts_) {
    const bool next_is_there = layer + 1 < config_.layers && !store_.streams(layer + 1);
    return experts_->run(w, layer, static_cast<uint32_t>(chunk_.count), next_is_there, observer_.get());
  }
  const LayerWeights& l = weights_.layers[layer];
  const auto tokens = static_cast<uint32_t>(chunk_.count);
  float *x = at<float>(layout_.x), *ffn = at<float>(layout_.ffn);
  work_.norm(w, x, l.ffn_norm, tokens, {&l.gate, &l.up});
  show(w, "ffn_gate", static_cast<int32_t>(layer), l.gate, at<float>(layout_.normed), tokens);
  expect(w, {&l.down});
  gate_and_up(w, l);
  work_.round(w, ffn, config_.ffn_size, tokens, l.down);
  show(w, "ffn_down", static_cast<int32_t>(layer), l.down, ffn, tokens);
  expect_layer(w, layer + 1);
  work_.project(w, {{&l.down, x, config_.hidden_size}}, tokens, ffn, Epilogue::add);
  return true;
}

// logits = head(norm(x)) for the tokens that want them, a few at a time so that they fit one matmul call
void Engine::head(Worker& w, float* logits) {
  const size_t hidden = config_.hidden_size, vocab = config_.vocab_size;
  const auto wanted = static_cast<uint32_t>(wanted_.size());
  const uint32_t block = weights_.head.format->block, step = Workspace::panels_per_item(wanted);
  w.for_each(wanted, [&](uint32_t i) {
    const float* x = at<float>(layout_.x) + wanted_[i] * hidden;
    const ActivationBuffers b = work_.buffers(block, config_.hidden_size, i);
    if (block)
      kernels_.rmsnorm_quantize(x, weights_.output_norm, config_.hidden_size, config_.rms_epsilon, block, b.quants, b.scales,
                                b.sums);
    else
      kernels_.rmsnorm(x, weights_.output_norm, config_.hidden_size, config_.rms_epsilon, b.values);
  });
  expect_layer(w, 0);
  if (wanted == 0) return;
  show(w, "output", -1, weights_.head, at<float>(layout_.normed), wanted);
  WorkerScratch& scratch = work_.own(w);
  for (uint32_t part = 0; part < store_.head_parts(); ++part) {
    if (!enter_head(w, part)) return;
    const MatrixView& head = head_part_.rows;
    const size_t first_row = size_t{head_part_.first_panel} * kPanelRows;
    w.for_each((head.panels() + step - 1) / step, [&](uint32_t item) {
      const uint32_t first = item * step, last = std::min(first + step, head.panels());
      const size_t row = size_t{first} * kPanelRows, rows = std::min<size_t>(size_t{last} * kPanelRows, head.rows) - row;
      for (uint32_t t = 0; t < wanted; t += kGemmTokens) {
        const uint32_t n = std::min(kGemmTokens, wanted - t);
        kernels_.matmul(head, first, last, work_.activations(head, at<float>(layout_.normed), t, n), scratch.tile,
                        kGemmPanels * kPanelRows, scratch.matmul);
        for (uint32_t i = 0; i < n; ++i)
          std::memcpy(logits + (t + i) * vocab + first_row + row, scratch.tile + i * kGemmPanels * kPanelRows, rows * 4);
      }
    });
    leave(w, store_.streams_head());
  }
}

// ---- the steps ----

void Engine::show(Worker& w, const char* tensor, int32_t layer, const MatrixView& reader, const float* float_input,
                  uint32_t tokens) const {
  if (!observer_ || tokens == 0) return;
  w.for_each(
      1, [&](uint32_t) { show_activations(*observer_, tensor, layer, -1, work_.activations(reader, float_input, 0, tokens)); });
}

// Both projections of an item stay in the thread's own tiles until silu(gate) * up is written.
void Engine::gate_and_up(Worker& w, const LayerWeights& l) {
  const auto tokens = static_cast<uint32_t>(chunk_.count);
  const uint32_t step = Workspace::panels_in_turns(tokens);
  WorkerScratch& scratch = work_.own(w);
  w.for_each((l.gate.panels() + step - 1) / step, [&](uint32_t item) {
    const uint32_t first = item * step, last = std::min(first + step, l.gate.panels()), rows = (last - first) * kPanelRows;
    for (uint32_t t = 0; t < tokens; t += kGemmTokens) {
      const uint32_t n = std::min(kGemmTokens, tokens - t);
      const auto multiply = [&](const MatrixView& m, float* tile) {
        const Activations normed = work_.activations(m, at<float>(layout_.normed), t, n);
        for (uint32_t p = first; p < last; p += kGemmPanels)
          kernels_.matmul(m, p, std::min(p + kGemmPanels, last), normed, tile + (p - first) * kPanelRows, rows, scratch.matmul);
      };
      multiply(l.gate, scratch.tile);
      multiply(l.up, scratch.tile2);
      for (uint32_t i = 0; i < n; ++i)
        kernels_.silu_mul(scratch.tile + i * rows, scratch.tile2 + i * rows, rows,
                          at<float>(layout_.ffn) + size_t{t + i} * config_.ffn_size + size_t{first} * kPanelRows);
    }
  });
}

// Query, key and value of one token, for some KV heads and the query heads that share them.
void Engine::rotate_and_store(uint32_t layer, uint32_t token, uint32_t first_kv_head, uint32_t kv_heads) const {
  const LayerWeights& l = weights_.layers[layer];
  const KvShape& kv = cache_.shape();
  const size_t q_size = config_.query_size(), q_width = query_width(kv.type);
  RopeTask task{};
  task.qkv = at<float>(layout_.qkv) + token * (q_size + 2 * config_.kv_size());
  task.bias = l.qkv_bias.empty() ? nullptr : l.qkv_bias.data();
  task.q_weight = l.q_norm;
  task.k_weight = l.k_norm;
  task.cos_sin = at<float>(layout_.cos_sin) + size_t{token} * config_.head_size;
  task.eps = config_.rms_epsilon;
  task.heads = config_.heads;
  task.kv_heads = config_.kv_heads;
  task.head_dim = config_.head_size;
  task.type = kv.type;
  task.q = at<uint8_t>(layout_.q) + token * q_size * q_width;
  task.q_scales = at<float>(layout_.q_scales) + size_t{token} * config_.heads;
  task.page = token_pages_[token] + layer * kv.layer_bytes();
  task.row = static_cast<uint32_t>(chunk_.positions[token]) % kKvBlock;
  task.first = first_kv_head;
  task.count = kv_heads;
  kernels_.qk_norm_rope(task);
}

void Engine::attend(Worker& w, uint32_t layer) {
  const KvShape& kv = cache_.shape();
  const uint32_t group = config_.heads / config_.kv_heads, d = config_.head_size;
  const size_t q_width = query_width(kv.type), head_bytes = kv_block_layout(kv.type, d).bytes;
  const uint32_t parts = (config_.kv_heads + heads_per_item_ - 1) / heads_per_item_;
  const uint32_t items = static_cast<uint32_t>(tiles_.size()) * parts;
  const auto first_block = [&](uint32_t item) { return layer * kv.layer_bytes() + item % parts * heads_per_item_ * head_bytes; };
  // The tokens of a run read each other's keys, so that all are written first; a token alone needs its own only.
  if (!alone_)
    w.for_each(static_cast<uint32_t>(chunk_.count), [&](uint32_t t) { rotate_and_store(layer, t, 0, config_.kv_heads); });
  w.for_each(items, [&](uint32_t item) {
    const AttentionTile& tile = tiles_[item / parts];
    const uint32_t kv_head = item % parts * heads_per_item_, heads = std::min(heads_per_item_, config_.kv_heads - kv_head);
    if (alone_) rotate_and_store(layer, tile.first, kv_head, heads);
    const size_t first_head = size_t{tile.first} * config_.heads + size_t{kv_head} * group;
    AttentionTask task{};
    task.q = at<uint8_t>(layout_.q) + first_head * d * q_width;
    task.q_scales = at<float>(layout_.q_scales) + first_head;
    task.q_stride = config_.heads;
    task.heads = heads;
    task.tokens = tile.count;
    task.group = group;
    task.head_dim = d;
    task.position = tile.position;
    task.type = kv.type;
    task.pages = cache_.pages(tile.slot);
    task.offset = first_block(item);
    if (item + 1 < items) task.next = cache_.pages(tiles_[(item + 1) / parts].slot)[0] + first_block(item + 1);
    task.out = at<float>(layout_.attention) + first_head * d;
    task.scratch = work_.own(w).attention;
    kernels_.attention(task);
  });
}

// ---- what a thread reads next ----

// The first bytes of a worker's share of matrices whose rows are handed out one after the other, `step` panels an item.
Stream Engine::share(const Worker& w, std::initializer_list<const MatrixView*> matrices, uint32_t step, size_t bytes) const {
  if (chunk_.count > kStreamTokens) return {};  // bound by arithmetic
  uint32_t items = 0;
  for (const MatrixView* m : matrices) items += (m->panels() + step - 1) / step;
  uint32_t item = w.first_of(items);
  for (const MatrixView* m : matrices) {
    const uint32_t own = (m->panels() + step - 1) / step;
    if (item < own) {
      const uint8_t* begin = m->data + size_t{item} * step * m->layout.bytes;
      return {begin, std::min(begin + bytes, m->data + m->panels() * m->layout.bytes)};
    }
    item -= own;
  }
  return {};
}

// Asks for the first page that this worker's attention will read, which would otherwise begin with a wait for memory.
void Engine::fetch_cache(const Worker& w, uint32_t layer) const {
  const KvShape& kv = cache_.shape();
  if (!alone_ || chunk_.count > kStreamTokens) return;  // a prefill reads its cache many times
  const uint32_t parts = (config_.kv_heads + heads_per_item_ - 1) / heads_per_item_;
  const uint32_t item = w.first_of(static_cast<uint32_t>(tiles_.size()) * parts);
  const AttentionTile& tile = tiles_[std::min<size_t>(item / parts, tiles_.size() - 1)];
  if (tile.position < kKvBlock) return;  // the first page is the last, and short
  const size_t head_bytes = kv_block_layout(kv.type, config_.head_size).bytes;
  const uint8_t* page = cache_.pages(tile.slot)[0] + layer * kv.layer_bytes() + item % parts * heads_per_item_ * head_bytes;
  fetch_far({page, page + std::min<size_t>(heads_per_item_ * head_bytes, kExpectedBytes)});
}

void Engine::expect(Worker& w, std::initializer_list<const MatrixView*> one_after_the_other) const {
  w.expect(share(w, one_after_the_other, Workspace::panels_per_item(static_cast<uint32_t>(chunk_.count)), kExpectedBytes));
}

void Engine::expect_in_turns(Worker& w, const MatrixView& a, const MatrixView& b) const {
  const uint32_t step = Workspace::panels_in_turns(static_cast<uint32_t>(chunk_.count));
  w.expect(share(w, {&a}, step, kExpectedBytes / 2), share(w, {&b}, step, kExpectedBytes / 2));
}

void Engine::expect_layer(Worker& w, uint32_t layer) const {
  if (layer == config_.layers ? store_.streams_head() : store_.streams(layer)) return w.expect({});
  if (layer == config_.layers) return expect(w, {&weights_.head});
  const LayerWeights& l = weights_.layers[layer];
  expect(w, {&l.q, &l.k, &l.v});
}

}  // namespace q3e
