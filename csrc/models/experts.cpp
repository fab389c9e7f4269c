#include "models/experts.h"

#include <algorithm>
#include <cstring>

namespace q3e {
namespace {

constexpr uint32_t kFewTokens = 4;         // that one thread routes while the others wait, which saves a barrier
constexpr uint32_t kLeftOut = UINT32_MAX;  // in place of an expert that a token leaves out; these come last
constexpr uint32_t kStreamPanels = 16;     // of an item for a token alone: at each item's end the reads in flight run low
constexpr uint32_t kLevelItems = 8;        // that each thread then has at least

uint32_t items_of(uint32_t panels) { return (panels + kGemmPanels - 1) / kGemmPanels; }

}  // namespace

Experts::Experts(const ModelConfig& c, uint32_t shared_width)
    : hidden_(c.hidden_size),
      experts_(c.experts),
      top_(c.experts_per_token),
      width_(c.expert_ffn_size),
      shared_width_(shared_width),
      normalize_(c.norm_topk_prob) {
  const auto pool = [](const char* name, uint32_t rows, uint32_t columns, bool own_input) {
    TensorSpec spec = matrix(name, rows, columns, 1);
    spec.place = Place::experts;
    spec.own_input = own_input;
    return spec;
  };
  norm_ = add(vector("ffn_norm", hidden_));
  TensorSpec router = matrix("ffn_gate_inp", experts_, hidden_, 0);
  router.form = Form::float_matrix;
  router_ = add(router);
  gate_up_ = add(pool("ffn_gate_up_exps", experts_ * 2 * width_, hidden_, false));
  down_ = add(pool("ffn_down_exps", experts_ * hidden_, width_, true));
  if (shared_width == 0) return;
  const auto alternating = [](TensorSpec spec) {
    spec.alternating = true;
    return spec;
  };
  shared_share_ = add(vector("ffn_gate_inp_shexp", hidden_));
  shared_gate_ = add(alternating(matrix("ffn_gate_shexp", shared_width, hidden_, 2)));
  shared_up_ = add(alternating(matrix("ffn_up_shexp", shared_width, hidden_, 2)));
  shared_down_ = add(matrix("ffn_down_shexp", hidden_, shared_width, 3));
}

Experts::Scratch Experts::scratch(const ScratchRequest& request) const {
  const size_t tokens = request.tokens, rows = tokens * top_;
  const std::vector<uint32_t>& blocks = request.blocks->experts;
  Layout layout;
  const auto take_rows = [&](uint32_t columns, bool values) {
    const uint32_t smallest = blocks.front() ? blocks.front() : blocks.size() > 1 ? blocks[1] : 0;
    const size_t scales = smallest ? rows * ((columns + smallest - 1) / smallest) * 4 : 0;
    RowBuffers r{};
    r.values = layout.take(values || blocks.front() == 0 ? rows * columns * 4 : 0);
    r.quants = layout.take(smallest ? rows * activation_stride(columns) : 0);
    r.scales = layout.take(scales);
    r.sums = layout.take(scales);
    return r;
  };
  Scratch s{};
  s.logit_stride = (experts_ + kPanelRows - 1) / kPanelRows * kPanelRows;
  s.logits = layout.take(tokens * s.logit_stride * 4);
  s.chosen = layout.take(rows * 4);
  s.weights = layout.take(rows * 4);
  s.rows = layout.take(rows * 4);
  s.input = take_rows(hidden_, false);
  s.hidden = take_rows(width_, true);
  s.out = layout.take(rows * hidden_ * 4);
  s.shared = layout.take(tokens * shared_width_ * 4);
  s.likely_input = layout.take(size_t{hidden_} * 4);
  s.likely_logits = layout.take(s.logit_stride * 4);
  s.group = layout.take(sizeof(Group));
  s.wanted = layout.take(size_t{experts_} * 4);
  s.first_row = layout.take(size_t{experts_} * 4);
  s.count = layout.take(size_t{experts_} * 4);
  s.bytes = layout.end();
  return s;
}

// One thread's view of a chunk's experts.
class Experts::Step {
 public:
  Step(const Experts& block, const Steps& steps, const BlockPlace& at)
      : b_(block),
        steps_(steps),
        at_(at),
        s_(block.scratch(steps.pass.request)),
        tokens_(steps.tokens()),
        chosen_(steps.scratch<uint32_t>(s_.chosen)),
        row_of_(steps.scratch<uint32_t>(s_.rows)),
        weights_(steps.scratch<float>(s_.weights)),
        group_(*steps.scratch<Group>(s_.group)),
        wanted_(steps.scratch<uint32_t>(s_.wanted)),
        first_row_(steps.scratch<uint32_t>(s_.first_row)),
        count_(steps.scratch<uint32_t>(s_.count)) {}

  bool run();

 private:
  ExpertSource& source() const { return *steps_.pass.experts; }
  uint32_t expert(uint32_t index) const { return wanted_[group_.done + index]; }
  void route(uint32_t token);
  void leave_out_small(uint32_t* chosen, float* weights) const;
  void group();
  void begin() { group_.ready = source().begin(at_.pool, {wanted_ + group_.done, group_.wanted - group_.done}); }
  void foresee();
  void gather(const MatrixView& reader);
  void gate_and_up(uint32_t ready);
  void round(const MatrixView& reader, uint32_t ready);
  void down(const MatrixView& reader, uint32_t ready);
  void combine();
  void add_shared(Rows normed);
  void expect_down(uint32_t ready);
  template <class F>
  void show(const Tensor& weight, uint32_t ready, F&& rows);
  Activations inputs(const MatrixView& reader, uint32_t expert) const;
  Activations rows_of(const RowBuffers& from, const MatrixView& reader, uint32_t expert) const;

  const Experts& b_;
  const Steps& steps_;
  const BlockPlace& at_;
  const Scratch s_;
  const uint32_t tokens_;
  uint32_t *chosen_, *row_of_;  // [T][top]
  float* weights_;              // [T][top]
  Group& group_;
  uint32_t *wanted_, *first_row_, *count_;
};

// x += sum of weight * down(silu(gate(n)) * up(n)) over each token's experts, n = norm(x); where there is a shared expert, also
// its sigmoid(w . n) * down(silu(gate(n)) * up(n))
bool Experts::step(const Steps& steps, const BlockPlace& at) const { return Step(*this, steps, at).run(); }

bool Experts::Step::run() {
  const Tensor &router = at_.tensors[b_.router_], &gate_up = at_.tensors[b_.gate_up_], &down_all = at_.tensors[b_.down_];
  const Tensor &norm = at_.tensors[b_.norm_], &shared_gate = at_.tensors[b_.shared_gate_],
               &shared_up = at_.tensors[b_.shared_up_];
  const Rows n = b_.shared_width_ ? steps_.norm(norm, {&router, &gate_up, &shared_gate, &shared_up})
                                  : steps_.norm(norm, {&router, &gate_up});
  steps_.project(n, {{router, steps_.scratch<float>(s_.logits), s_.logit_stride}});
  if (tokens_ > kFewTokens) steps_.worker.for_each(tokens_, [&](uint32_t t) { route(t); });
  steps_.worker.for_each(1, [&](uint32_t) {
    for (uint32_t t = 0; t < tokens_ && tokens_ <= kFewTokens; ++t) route(t);
    group();
    begin();
  });
  if (tokens_ > 1) gather(gate_up.matrix);
  if (tokens_ == 1 && at_.next && source().foresees()) foresee();
  for (;;) {
    // What one thread wrote before the last barrier; it writes again after the next three at the earliest.
    const uint32_t ready = group_.ready;
    const bool last = group_.done + ready == group_.wanted;
    if (ready == 0) return false;
    show(gate_up, ready, [&](uint32_t e) { return inputs(gate_up.matrix, e); });
    expect_down(ready);
    gate_and_up(ready);
    round(down_all.matrix, ready);
    show(down_all, ready, [&](uint32_t e) { return rows_of(s_.hidden, down_all.matrix, e); });
    steps_.worker.expect({});
    down(down_all.matrix, ready);
    if (last) break;
    steps_.worker.for_each(1, [&](uint32_t) {
      source().end();
      group_.done += ready;
      begin();
    });
  }
  if (steps_.worker.index == 0) source().end();
  if (b_.shared_width_) steps_.expect(shared_gate.turn);
  combine();
  if (b_.shared_width_) add_shared(n);
  return true;
}

// Its hidden rows are multiplied by its share, as `down` is linear. What the router read is there still: experts round in buffers
// of their own.
void Experts::Step::add_shared(Rows normed) {
  const Tensor &gate = at_.tensors[b_.shared_gate_], &down = at_.tensors[b_.shared_down_];
  const float* share = at_.tensors[b_.shared_share_].vector;
  auto* hidden = steps_.scratch<float>(s_.shared);
  const uint32_t width = b_.shared_width_;
  steps_.show(gate, normed, tokens_);
  steps_.gate_up(normed, gate, at_.tensors[b_.shared_up_], hidden);
  steps_.worker.for_each(tokens_, [&](uint32_t t) {
    steps_.kernels().dot_gate(normed.values + size_t{t} * b_.hidden_, share, b_.hidden_, hidden + size_t{t} * width, width);
  });
  const Rows rounded = steps_.round(hidden, down);
  steps_.project(rounded, {{down, steps_.x(), b_.hidden_}}, Epilogue::add);
}

void Experts::Step::route(uint32_t token) {
  uint32_t* chosen = chosen_ + size_t{token} * b_.top_;
  float* weights = weights_ + size_t{token} * b_.top_;
  steps_.kernels().route(steps_.scratch<float>(s_.logits) + token * s_.logit_stride, b_.experts_, b_.top_, b_.normalize_, chosen,
                         weights);
  if (steps_.pass.min_expert_share > 0) leave_out_small(chosen, weights);
}

// Weights [top] descend; those that stay grow to the sum of all.
void Experts::Step::leave_out_small(uint32_t* chosen, float* weights) const {
  float all = 0, kept = weights[0];
  for (uint32_t r = 0; r < b_.top_; ++r) all += weights[r];
  uint32_t count = 1;
  while (count < b_.top_ && weights[count] >= steps_.pass.min_expert_share * all) kept += weights[count++];
  for (uint32_t r = 0; r < count; ++r) weights[r] *= all / kept;
  std::fill(chosen + count, chosen + b_.top_, kLeftOut);
}

// Gives every token a row with each of its experts; the rows of an expert are consecutive, in the order of the tokens.
void Experts::Step::group() {
  const uint32_t entries = tokens_ * b_.top_;
  uint64_t& left_out = steps_.pass.experts_left_out;
  group_ = {};
  if (tokens_ == 1) {  // nothing to sort
    for (uint32_t i = 0; i < entries && chosen_[i] != kLeftOut; ++i) {
      wanted_[group_.wanted++] = chosen_[i];
      first_row_[chosen_[i]] = row_of_[i] = i;
      count_[chosen_[i]] = 1;
    }
    left_out += entries - group_.wanted;
    return;
  }
  std::fill_n(count_, b_.experts_, 0);
  for (uint32_t i = 0; i < entries; ++i) chosen_[i] == kLeftOut ? ++left_out : ++count_[chosen_[i]];
  uint32_t row = 0;
  for (uint32_t e = 0; e < b_.experts_; ++e) {
    first_row_[e] = row;
    row += count_[e];
    if (count_[e]) wanted_[group_.wanted++] = e;
    count_[e] = 0;
  }
  for (uint32_t i = 0; i < entries; ++i)
    if (chosen_[i] != kLeftOut) row_of_[i] = first_row_[chosen_[i]] + count_[chosen_[i]]++;
}

// Asks the next router already, with x as it is: attention and experts in between change it, but little. Only what is read ahead
// depends on the answer.
void Experts::Step::foresee() {
  const Tensor &norm = at_.next[b_.norm_], &router = at_.next[b_.router_];
  auto *normed = steps_.scratch<float>(s_.likely_input), *logits = steps_.scratch<float>(s_.likely_logits);
  steps_.worker.for_each(
      1, [&](uint32_t) { steps_.kernels().rmsnorm(steps_.x(), norm.vector, b_.hidden_, steps_.pass.sizes.epsilon, normed); });
  steps_.project({normed}, {{router, logits, s_.logit_stride}}, Epilogue::store, 1);
  steps_.worker.for_each(1, [&](uint32_t) {
    uint32_t likely[kMaxExperts];
    float weights[kMaxExperts];
    steps_.kernels().route(logits, b_.experts_, b_.top_, false, likely, weights);
    source().foresee(at_.pool + 1, {likely, b_.top_});
  });
}

// Copies every token's activations into its rows.
void Experts::Step::gather(const MatrixView& reader) {
  const uint32_t columns = reader.columns, stride = activation_stride(columns);
  const Activations all = steps_.activations(reader, steps_.normed(), tokens_);
  const uint32_t blocks = all.blocks();
  steps_.worker.for_each(tokens_, [&](uint32_t t) {
    const Activations from = slice(all, t, 1);
    for (size_t i = size_t{t} * b_.top_, end = i + b_.top_; i < end && chosen_[i] != kLeftOut; ++i) {
      const size_t row = row_of_[i];
      if (all.block == 0) {
        std::memcpy(steps_.scratch<float>(s_.input.values) + row * columns, from.values, size_t{columns} * 4);
        continue;
      }
      std::memcpy(steps_.scratch<int8_t>(s_.input.quants) + row * stride, from.quants, columns);
      std::memcpy(steps_.scratch<float>(s_.input.scales) + row * blocks, from.scales, size_t{blocks} * 4);
      std::memcpy(steps_.scratch<int32_t>(s_.input.sums) + row * blocks, from.sums, size_t{blocks} * 4);
    }
  });
}

// What an expert's tokens give its first matrix.
Activations Experts::Step::inputs(const MatrixView& reader, uint32_t expert) const {
  if (tokens_ == 1) return steps_.activations(reader, steps_.normed(), 1);
  return rows_of(s_.input, reader, expert);
}

Activations Experts::Step::rows_of(const RowBuffers& from, const MatrixView& reader, uint32_t expert) const {
  const uint32_t block = reader.format->block, columns = reader.columns;
  const Activations all{0,
                        columns,
                        activation_stride(columns),
                        block,
                        steps_.scratch<float>(from.values),
                        steps_.scratch<int8_t>(from.quants),
                        steps_.scratch<float>(from.scales),
                        steps_.scratch<int32_t>(from.sums)};
  return slice(all, first_row_[expert], count_[expert]);
}

// An item is four panels of an expert, two of gate and two of up, which become 32 columns of its hidden rows; or 16 panels, where
// a token is alone and there are enough to keep the threads level.
void Experts::Step::gate_and_up(uint32_t ready) {
  const uint32_t panels = 2 * b_.width_ / kPanelRows;
  const bool few = tokens_ == 1 && ready * panels >= kLevelItems * kStreamPanels * steps_.worker.team_size();
  const uint32_t step = few ? kStreamPanels : kGemmPanels, items = (panels + step - 1) / step;
  WorkerScratch& own = steps_.own();
  steps_.worker.for_each(ready * items, [&](uint32_t item) {
    const uint32_t index = item / items, e = expert(index);
    const uint32_t first = item % items * step, last = std::min(first + step, panels), width = (last - first) * kPanelRows;
    const MatrixView weights = source().get(index).gate_up;
    auto* out = steps_.scratch<float>(s_.hidden.values) + size_t{first_row_[e]} * b_.width_ + first / 2 * kPanelRows;
    for_each_part(inputs(weights, e), [&](uint32_t t, const Activations& part) {
      steps_.kernels().matmul(weights, first, last, part, own.tile, width, own.matmul);
      for (uint32_t i = 0; i < part.tokens; ++i)
        steps_.kernels().silu_panels(own.tile + size_t{i} * width, width / 2, out + size_t{t + i} * b_.width_);
    });
  });
}

// Rounds the hidden rows as `down` wants them.
void Experts::Step::round(const MatrixView& reader, uint32_t ready) {
  const uint32_t block = reader.format->block, columns = reader.columns, stride = activation_stride(columns);
  if (block == 0) return;
  const size_t blocks = (columns + block - 1) / block;
  steps_.worker.for_each(ready, [&](uint32_t index) {
    const uint32_t e = expert(index);
    for (size_t row = first_row_[e]; row < size_t{first_row_[e]} + count_[e]; ++row)
      steps_.kernels().quantize(steps_.scratch<float>(s_.hidden.values) + row * columns, columns, block,
                                steps_.scratch<int8_t>(s_.hidden.quants) + row * stride,
                                steps_.scratch<float>(s_.hidden.scales) + row * blocks,
                                steps_.scratch<int32_t>(s_.hidden.sums) + row * blocks);
  });
}

void Experts::Step::down(const MatrixView& reader, uint32_t ready) {
  const uint32_t size = b_.hidden_, panels = size / kPanelRows, items = items_of(panels);
  WorkerScratch& own = steps_.own();
  steps_.worker.for_each(ready * items, [&](uint32_t item) {
    const uint32_t index = item / items, e = expert(index);
    const uint32_t first = item % items * kGemmPanels, last = std::min(first + kGemmPanels, panels);
    const MatrixView weights = source().get(index).down;
    auto* out = steps_.scratch<float>(s_.out) + size_t{first_row_[e]} * size + size_t{first} * kPanelRows;
    for_each_part(rows_of(s_.hidden, reader, e), [&](uint32_t t, const Activations& part) {
      steps_.kernels().matmul(weights, first, last, part, out + size_t{t} * size, size, own.matmul);
    });
  });
}

void Experts::Step::combine() {
  const uint32_t size = b_.hidden_;
  steps_.worker.for_each(tokens_, [&](uint32_t t) {
    const float* rows[kMaxExperts];
    const size_t at = size_t{t} * b_.top_;
    uint32_t count = 0;
    for (; count < b_.top_ && chosen_[at + count] != kLeftOut; ++count)
      rows[count] = steps_.scratch<float>(s_.out) + size_t{row_of_[at + count]} * size;
    steps_.kernels().add_weighted(rows, weights_ + at, count, size, steps_.x() + size_t{t} * size);
  });
}

// While a thread waits for the hidden rows, it asks for the first panels that it will multiply with them.
void Experts::Step::expect_down(uint32_t ready) {
  if (group_.wanted > kStreamTokens) return;
  const uint32_t items = items_of(b_.hidden_ / kPanelRows), item = steps_.worker.first_of(ready * items);
  const MatrixView weights = source().get(item / items).down;
  const uint8_t* begin = weights.data + size_t{item % items} * kGemmPanels * weights.layout.bytes;
  steps_.worker.expect({begin, std::min(begin + Steps::kExpectedBytes, weights.data + weights.panels() * weights.layout.bytes)});
}

// Shows what the experts at hand multiply; `rows` gives an expert's.
template <class F>
void Experts::Step::show(const Tensor& weight, uint32_t ready, F&& rows) {
  Observer* observer = steps_.pass.observer.get();
  if (!observer) return;
  steps_.worker.for_each(1, [&](uint32_t) {
    for (uint32_t i = 0; i < ready; ++i)
      show_activations(*observer, weight.spec->name, weight.layer, static_cast<int32_t>(expert(i)), rows(expert(i)));
  });
}

}  // namespace q3e
