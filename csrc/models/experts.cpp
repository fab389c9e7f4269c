#include "models/experts.h"

#include <algorithm>
#include <cstring>

namespace q3e {
namespace {

constexpr uint32_t kFewTokens = 4;         // that one thread routes while the others wait, which saves a barrier
constexpr uint32_t kLeftOut = UINT32_MAX;  // in place of an expert that a token leaves out; these come last
constexpr uint32_t kStreamPanels = 16;     // of an item for a token alone: at each item's end the reads in flight run low
constexpr uint32_t kLevelItems = 8;        // that each thread then has at least
constexpr size_t kExpectedBytes = size_t{256} << 10;

// Tokens [first, first + tokens) of them.
Activations part(Activations a, uint32_t first, uint32_t tokens) {
  a.tokens = tokens;
  if (a.block == 0) {
    a.values += size_t{first} * a.columns;
    return a;
  }
  a.quants += size_t{first} * a.stride;
  a.scales += size_t{first} * a.blocks();
  a.sums += size_t{first} * a.blocks();
  return a;
}

uint32_t items_of(uint32_t panels) { return (panels + kGemmPanels - 1) / kGemmPanels; }

}  // namespace

Experts::Experts(const ModelConfig& config, const Weights& weights, const Workspace& work, ExpertSource& source, float min_share)
    : config_(config),
      weights_(weights),
      work_(work),
      source_(source),
      min_share_(min_share),
      first_slot_(config.experts),
      count_(config.experts) {
  wanted_.reserve(config.experts);
}

bool Experts::run(Worker& w, uint32_t layer, uint32_t tokens, bool next_is_there, Observer* observer) {
  const LayerWeights& l = weights_.layers[layer];
  const auto* normed = work_.at<float>(work_.layout().normed);
  work_.norm(w, work_.at<float>(work_.layout().x), l.ffn_norm, tokens, {&l.router, &l.gate_up_experts});
  if (observer)
    w.for_each(1, [&](uint32_t) {
      show_activations(*observer, "ffn_gate_inp", static_cast<int32_t>(layer), -1,
                       work_.activations(l.router, normed, 0, tokens));
    });
  work_.project(w, {{&l.router, work_.at<float>(at().logits), at().logit_stride}}, tokens, normed, Epilogue::store);
  if (tokens > kFewTokens) w.for_each(tokens, [&](uint32_t t) { route(t); });
  w.for_each(1, [&](uint32_t) {
    for (uint32_t t = 0; t < tokens && tokens <= kFewTokens; ++t) route(t);
    group(tokens);
    begin(layer);
  });
  if (tokens > 1) gather(w, l.gate_up_experts, tokens);
  if (tokens == 1 && next_is_there && source_.foresees()) foresee(w, layer + 1);
  for (;;) {
    // What one thread wrote before the last barrier; it writes again after the next three at the earliest.
    const uint32_t ready = ready_;
    const bool last = done_ + ready == wanted_.size();
    if (ready == 0) return false;
    show(w, observer, "ffn_gate_up_exps", layer, ready, [&](uint32_t e) { return inputs(l.gate_up_experts, e, tokens); });
    expect_down(w, ready);
    gate_and_up(w, ready, tokens);
    round(w, l.down_experts, ready);
    show(w, observer, "ffn_down_exps", layer, ready, [&](uint32_t e) { return slots(at().hidden, l.down_experts, e); });
    w.expect({});
    down(w, l.down_experts, ready);
    if (last) break;
    w.for_each(1, [&](uint32_t) {
      source_.end();
      done_ += ready;
      begin(layer);
    });
  }
  if (w.index == 0) source_.end();
  combine(w, tokens);
  return true;
}

void Experts::route(uint32_t token) const {
  const uint32_t top = config_.experts_per_token;
  uint32_t* chosen = work_.at<uint32_t>(at().chosen) + size_t{token} * top;
  float* weights = work_.at<float>(at().weights) + size_t{token} * top;
  work_.kernels().route(work_.at<float>(at().logits) + token * at().logit_stride, config_.experts, top, config_.norm_topk_prob,
                        chosen, weights);
  if (min_share_ > 0) leave_out_small(chosen, weights);
}

// Weights [experts_per_token] descend; those that stay grow to the sum of all.
void Experts::leave_out_small(uint32_t* chosen, float* weights) const {
  const uint32_t top = config_.experts_per_token;
  float all = 0, kept = weights[0];
  for (uint32_t r = 0; r < top; ++r) all += weights[r];
  uint32_t count = 1;
  while (count < top && weights[count] >= min_share_ * all) kept += weights[count++];
  for (uint32_t r = 0; r < count; ++r) weights[r] *= all / kept;
  std::fill(chosen + count, chosen + top, kLeftOut);
}

// Gives every token a slot in each of its experts; the slots of an expert are consecutive, in the order of the tokens.
void Experts::group(uint32_t tokens) {
  const uint32_t entries = tokens * config_.experts_per_token;
  const auto* chosen = work_.at<uint32_t>(at().chosen);  // [tokens][experts_per_token]
  auto* slot_of = work_.at<uint32_t>(at().slots);
  wanted_.clear();
  done_ = 0;
  if (tokens == 1) {  // nothing to sort
    for (uint32_t i = 0; i < entries && chosen[i] != kLeftOut; ++i) {
      wanted_.push_back(chosen[i]);
      first_slot_[chosen[i]] = slot_of[i] = i;
      count_[chosen[i]] = 1;
    }
    left_out_ += entries - wanted_.size();
    return;
  }
  std::fill(count_.begin(), count_.end(), 0);
  for (uint32_t i = 0; i < entries; ++i) chosen[i] == kLeftOut ? ++left_out_ : ++count_[chosen[i]];
  uint32_t slot = 0;
  for (uint32_t e = 0; e < config_.experts; ++e) {
    first_slot_[e] = slot;
    slot += count_[e];
    if (count_[e]) wanted_.push_back(e);
    count_[e] = 0;
  }
  for (uint32_t i = 0; i < entries; ++i)
    if (chosen[i] != kLeftOut) slot_of[i] = first_slot_[chosen[i]] + count_[chosen[i]]++;
}

void Experts::begin(uint32_t layer) { ready_ = source_.begin(layer, std::span(wanted_).subspan(done_)); }

// Asks the next layer's router already, with x as it is: attention and experts in between change it, but little. Only what is
// read ahead depends on the answer.
void Experts::foresee(Worker& w, uint32_t layer) const {
  const LayerWeights& l = weights_.layers[layer];
  float* normed = work_.at<float>(at().likely_input);
  float* logits = work_.at<float>(at().likely_logits);
  w.for_each(1, [&](uint32_t) {
    work_.kernels().rmsnorm(work_.at<float>(work_.layout().x), l.ffn_norm, config_.hidden_size, config_.rms_epsilon, normed);
  });
  work_.project(w, {{&l.router, logits, at().logit_stride}}, 1, normed, Epilogue::store);
  w.for_each(1, [&](uint32_t) {
    uint32_t likely[kMaxExperts];
    float weights[kMaxExperts];
    work_.kernels().route(logits, config_.experts, config_.experts_per_token, false, likely, weights);
    source_.foresee(layer, {likely, config_.experts_per_token});
  });
}

// Copies every token's activations into its slots.
void Experts::gather(Worker& w, const MatrixView& reader, uint32_t tokens) const {
  const uint32_t block = reader.format->block, columns = reader.columns, top = config_.experts_per_token;
  const uint32_t stride = activation_stride(columns);
  w.for_each(tokens, [&](uint32_t t) {
    const Activations from = work_.activations(reader, work_.at<float>(work_.layout().normed), t, 1);
    const uint32_t blocks = from.blocks();
    const auto* chosen = work_.at<uint32_t>(at().chosen) + size_t{t} * top;
    for (uint32_t r = 0; r < top && chosen[r] != kLeftOut; ++r) {
      const size_t slot = work_.at<uint32_t>(at().slots)[size_t{t} * top + r];
      if (block == 0) {
        std::memcpy(work_.at<float>(at().input.values) + slot * columns, from.values, size_t{columns} * 4);
        continue;
      }
      std::memcpy(work_.at<int8_t>(at().input.quants) + slot * stride, from.quants, columns);
      std::memcpy(work_.at<float>(at().input.scales) + slot * blocks, from.scales, size_t{blocks} * 4);
      std::memcpy(work_.at<int32_t>(at().input.sums) + slot * blocks, from.sums, size_t{blocks} * 4);
    }
  });
}

// What an expert's tokens give its first matrix.
Activations Experts::inputs(const MatrixView& reader, uint32_t expert, uint32_t tokens) const {
  if (tokens == 1) return work_.activations(reader, work_.at<float>(work_.layout().normed), 0, 1);
  return slots(at().input, reader, expert);
}

// The slots of an expert.
Activations Experts::slots(const ScratchLayout::Experts::Rows& from, const MatrixView& reader, uint32_t expert) const {
  const uint32_t block = reader.format->block, columns = reader.columns, stride = activation_stride(columns);
  const size_t slot = first_slot_[expert];
  Activations a{count_[expert], columns, stride, block, nullptr, nullptr, nullptr, nullptr};
  if (block == 0) {
    a.values = work_.at<float>(from.values) + slot * columns;
    return a;
  }
  a.quants = work_.at<int8_t>(from.quants) + slot * stride;
  a.scales = work_.at<float>(from.scales) + slot * a.blocks();
  a.sums = work_.at<int32_t>(from.sums) + slot * a.blocks();
  return a;
}

// An item is four panels of an expert, two of gate and two of up, which become 32 columns of its hidden rows; or 16 panels, where
// a token is alone and there are enough to keep the threads level.
void Experts::gate_and_up(Worker& w, uint32_t ready, uint32_t tokens) const {
  const uint32_t ffn = config_.expert_ffn_size, panels = 2 * ffn / kPanelRows;
  const bool few = tokens == 1 && ready * panels >= kLevelItems * kStreamPanels * w.team_size();
  const uint32_t step = few ? kStreamPanels : kGemmPanels, items = (panels + step - 1) / step;
  WorkerScratch& scratch = work_.own(w);
  w.for_each(ready * items, [&](uint32_t item) {
    const uint32_t index = item / items, e = expert(index);
    const uint32_t first = item % items * step, last = std::min(first + step, panels);
    const uint32_t rows = (last - first) * kPanelRows;
    const MatrixView weights = source_.get(index).gate_up;
    const Activations all = inputs(weights, e, tokens);
    auto* out = work_.at<float>(at().hidden.values) + size_t{first_slot_[e]} * ffn + first / 2 * kPanelRows;
    for (uint32_t t = 0; t < all.tokens; t += kGemmTokens) {
      const uint32_t n = std::min(kGemmTokens, all.tokens - t);
      work_.kernels().matmul(weights, first, last, part(all, t, n), scratch.tile, rows, scratch.matmul);
      for (uint32_t i = 0; i < n; ++i)
        work_.kernels().silu_panels(scratch.tile + size_t{i} * rows, rows / 2, out + size_t{t + i} * ffn);
    }
  });
}

// Rounds the hidden rows as `down` wants them.
void Experts::round(Worker& w, const MatrixView& reader, uint32_t ready) const {
  const uint32_t block = reader.format->block, columns = reader.columns, stride = activation_stride(columns);
  if (block == 0) return;
  const size_t blocks = (columns + block - 1) / block;
  w.for_each(ready, [&](uint32_t index) {
    const uint32_t e = expert(index);
    for (size_t slot = first_slot_[e]; slot < size_t{first_slot_[e]} + count_[e]; ++slot)
      work_.kernels().quantize(work_.at<float>(at().hidden.values) + slot * columns, columns, block,
                               work_.at<int8_t>(at().hidden.quants) + slot * stride,
                               work_.at<float>(at().hidden.scales) + slot * blocks,
                               work_.at<int32_t>(at().hidden.sums) + slot * blocks);
  });
}

void Experts::down(Worker& w, const MatrixView& reader, uint32_t ready) const {
  const uint32_t size = config_.hidden_size, panels = size / kPanelRows, items = items_of(panels);
  WorkerScratch& scratch = work_.own(w);
  w.for_each(ready * items, [&](uint32_t item) {
    const uint32_t index = item / items, e = expert(index);
    const uint32_t first = item % items * kGemmPanels, last = std::min(first + kGemmPanels, panels);
    const Activations all = slots(at().hidden, reader, e);
    auto* out = work_.at<float>(at().out) + size_t{first_slot_[e]} * size + size_t{first} * kPanelRows;
    for (uint32_t t = 0; t < all.tokens; t += kGemmTokens) {
      const uint32_t n = std::min(kGemmTokens, all.tokens - t);
      work_.kernels().matmul(source_.get(index).down, first, last, part(all, t, n), out + size_t{t} * size, size, scratch.matmul);
    }
  });
}

void Experts::combine(Worker& w, uint32_t tokens) const {
  const uint32_t top = config_.experts_per_token, size = config_.hidden_size;
  w.for_each(tokens, [&](uint32_t t) {
    const float* rows[kMaxExperts];
    const auto* chosen = work_.at<uint32_t>(at().chosen) + size_t{t} * top;
    uint32_t count = 0;
    for (; count < top && chosen[count] != kLeftOut; ++count)
      rows[count] = work_.at<float>(at().out) + size_t{work_.at<uint32_t>(at().slots)[size_t{t} * top + count]} * size;
    work_.kernels().add_weighted(rows, work_.at<float>(at().weights) + size_t{t} * top, count, size,
                                 work_.at<float>(work_.layout().x) + size_t{t} * size);
  });
}

// While a thread waits for the hidden rows, it asks for the first panels that it will multiply with them.
void Experts::expect_down(Worker& w, uint32_t ready) const {
  if (wanted_.size() > kStreamTokens) return;
  const uint32_t items = items_of(config_.hidden_size / kPanelRows), item = w.first_of(ready * items);
  const MatrixView weights = source_.get(item / items).down;
  const uint8_t* begin = weights.data + size_t{item % items} * kGemmPanels * weights.layout.bytes;
  w.expect({begin, std::min(begin + kExpectedBytes, weights.data + weights.panels() * weights.layout.bytes)});
}

// Shows what the matrices at hand multiply; `rows` gives an expert's.
template <class F>
void Experts::show(Worker& w, Observer* observer, const char* tensor, uint32_t layer, uint32_t ready, F&& rows) const {
  if (!observer) return;
  w.for_each(1, [&](uint32_t) {
    for (uint32_t i = 0; i < ready; ++i)
      show_activations(*observer, tensor, static_cast<int32_t>(layer), static_cast<int32_t>(expert(i)), rows(expert(i)));
  });
}

}  // namespace q3e
