// A program that adds an architecture of its own: a layer of attention, then one whose state every token overwrites, without a
// feed-forward part. Prints what differs from what it should be; status 0 when nothing does.
#include <cstdio>
#include <cstring>
#include <memory>
#include <vector>

#include "base/error.h"
#include "models/architectures.h"
#include "models/attention.h"
#include "models/keys.h"
#include "runtime/engine.h"
#include "ukernels/unpack_row.h"

using namespace q3e;

namespace {

// x += s with s = s / 2 + mix(norm(x)), token after token
class Decay : public Block {
 public:
  explicit Decay(const ModelConfig& c) : hidden_(c.hidden_size) {
    norm_ = add(vector("decay_norm", hidden_));
    mix_ = add(matrix("decay_mix", hidden_, hidden_, 0));
  }
  const char* kind() const override { return "decay"; }
  StateSpec state(KvType) const override { return {0, hidden_ * 4}; }
  size_t scratch_bytes(const ScratchRequest& r) const override { return size_t{r.tokens} * hidden_ * 4; }
  bool step(const Steps& steps, const BlockPlace& at) const override {
    auto* mixed = steps.scratch<float>(0);
    const Rows n = steps.norm(at.tensors[norm_], {&at.tensors[mix_]});
    steps.project(n, {{at.tensors[mix_], mixed, hidden_}});
    const std::vector<Run>& runs = steps.pass.chunk.runs;
    steps.worker.for_each(static_cast<uint32_t>(runs.size()), [&](uint32_t r) {
      auto* s = reinterpret_cast<float*>(steps.pass.states.fixed(runs[r].sequence) + at.states.fixed_bytes);
      for (uint32_t t = runs[r].first; t < runs[r].first + runs[r].count; ++t)
        for (uint32_t i = 0; i < hidden_; ++i) {
          s[i] = s[i] / 2 + mixed[size_t{t} * hidden_ + i];
          steps.x()[size_t{t} * hidden_ + i] += s[i];
        }
    });
    return true;
  }

 private:
  uint32_t hidden_, norm_, mix_;
};

Model build_toy(const ModelFile& file) {
  Model model;
  read_common(file, model.config);
  read_attention(file, model.config);
  add_outer(model, model.config.head_size);
  model.blocks = {{model.add_kind<Attention>(model.config), 0}, {model.add_kind<Decay>(model.config), 1}};
  return model;
}

int failures = 0;

void expect(bool condition, const char* text) {
  if (condition) return;
  ++failures;
  std::printf("expected %s\n", text);
}

struct Result {
  std::vector<float> logits, hidden;
};

// Tokens of sequences at positions, all of whose logits and final states are wanted.
Result forward(Engine& engine, const std::vector<int32_t>& tokens, const std::vector<int32_t>& positions,
               const std::vector<int32_t>& sequences, const int32_t* rope = nullptr, const float* const* rows = nullptr) {
  const std::vector<uint8_t> want(tokens.size(), kWantLogits | kWantHidden);
  Result r{std::vector<float>(tokens.size() * engine.config().vocab_size),
           std::vector<float>(tokens.size() * engine.config().hidden_size)};
  engine.forward({tokens.data(), positions.data(), sequences.data(), want.data(), tokens.size(), rope, rows}, r.logits.data(),
                 r.hidden.data());
  return r;
}

std::vector<int32_t> from(int32_t first, int32_t last) {
  std::vector<int32_t> all;
  for (int32_t i = first; i < last; ++i) all.push_back(i);
  return all;
}

std::vector<float> rows_of(const std::vector<float>& all, size_t first, size_t last, size_t width) {
  return {all.begin() + static_cast<std::ptrdiff_t>(first * width), all.begin() + static_cast<std::ptrdiff_t>(last * width)};
}

// Batches, chunks and going back; returns the logits of ten tokens of sequence 0.
std::vector<float> check(const std::shared_ptr<const ModelFile>& file, PlanRequest request) {
  Engine engine(file, request, best_isa());
  const size_t vocab = engine.config().vocab_size, hidden = engine.config().hidden_size;
  const std::vector<int32_t> tokens{3, 1, 4, 1, 5, 9, 2, 6, 5, 3}, zeros(10, 0), ones(10, 1);
  const Result whole = forward(engine, tokens, from(0, 10), zeros);

  expect(engine.truncate(0, 7) == 0 && engine.length(0) == 0, "a state without a snapshot to go back to the start");
  expect(forward(engine, tokens, from(0, 10), zeros).logits == whole.logits, "the same logits again from the start");
  engine.truncate(0, 0);
  forward(engine, {3, 1, 4, 1, 5}, from(0, 5), std::vector<int32_t>(5, 0));
  engine.snapshot(0);
  const std::vector<int32_t> rest{9, 2, 6, 5, 3}, fives(5, 0);
  expect(forward(engine, rest, from(5, 10), fives).logits == rows_of(whole.logits, 5, 10, vocab), "the same logits in two calls");
  try {
    forward(engine, {2}, {7}, {0});
    expect(false, "a position that the state cannot go back to to be refused");
  } catch (const Error& e) {
    expect(e.status() == Status::bad_argument && engine.length(0) == 10, "a refusal to change nothing");
  }
  expect(engine.truncate(0, 7) == 5 && engine.length(0) == 5, "the snapshot at 5");
  const Result again = forward(engine, rest, from(5, 10), fives);
  expect(again.logits == rows_of(whole.logits, 5, 10, vocab), "the same logits from the snapshot on");
  expect(again.hidden == rows_of(whole.hidden, 5, 10, hidden), "the same states after the final norm");

  // A call that ends early leaves the snapshot.
  CancelFlag cancel;
  cancel.set();
  const std::vector<uint8_t> want(1, kWantLogits);
  const int32_t token = 2, position = 10, sequence = 0;
  std::vector<float> ignored(vocab);
  try {
    engine.forward({&token, &position, &sequence, want.data(), 1}, ignored.data(), nullptr, &cancel);
    expect(false, "a cancelled call to throw");
  } catch (const Error& e) {
    expect(e.status() == Status::cancelled && engine.length(0) == 5, "a call that ended early to leave the snapshot");
  }

  // Two sequences together.
  engine.truncate(0, 0);
  std::vector<int32_t> both = tokens, positions = from(0, 10), sequences = zeros;
  for (int32_t i = 0; i < 4; ++i) both.push_back(7 - i), positions.push_back(i), sequences.push_back(1);
  const Result together = forward(engine, both, positions, sequences);
  expect(rows_of(together.logits, 0, 10, vocab) == whole.logits, "a sequence beside another to give the same logits");
  engine.truncate(1, 0);
  expect(forward(engine, {7, 6, 5, 4}, from(0, 4), {1, 1, 1, 1}).logits == rows_of(together.logits, 10, 14, vocab),
         "the other alone to give the same logits");

  // What a batch may say otherwise, said the same.
  engine.truncate(0, 0);
  const Model model = read_model(*file);
  const ModelTensors table(*file, model);
  std::vector<float> values(tokens.size() * hidden);
  std::vector<const float*> rows;
  std::vector<int32_t> rope;
  for (size_t i = 0; i < tokens.size(); ++i) {
    unpack_row(table.embedding->matrix, static_cast<uint32_t>(tokens[i]), values.data() + i * hidden);
    rows.push_back(i % 2 ? values.data() + i * hidden : nullptr);
    for (int axis = 0; axis < 3; ++axis) rope.push_back(static_cast<int32_t>(i));
  }
  std::vector<int32_t> hints = tokens;
  for (size_t i = 1; i < hints.size(); i += 2) hints[i] = -1;
  expect(forward(engine, hints, from(0, 10), zeros, rope.data(), rows.data()).logits == whole.logits,
         "rows of the table and positions of RoPE said otherwise to give the same logits");
  return whole.logits;
}

}  // namespace

int main(int, char** arguments) {
  architectures().push_back({"toy", build_toy});
  const auto file = std::make_shared<const ModelFile>(arguments[1]);
  PlanRequest request;
  request.context = 128;
  request.sequences = 2;
  request.threads = 2;
  request.program = 1;
  request.memory = uint64_t{1} << 30;
  const Model model = read_model(*file);
  const MemoryPlan plan = make_plan(*file, model, request);
  PlanRequest without = request;
  without.snapshots = 0;
  expect(plan.kv_cache - make_plan(*file, model, without).kv_cache == 3 * 2 * (model.config.hidden_size + request.context) * 4,
         "two snapshots of two sequences, and two of those that left, in the plan, with the tokens that each is of");
  const std::vector<float> resident = check(file, request);
  for (const uint32_t chunk : {1u, 3u}) {
    request.chunk = chunk;
    expect(check(file, request) == resident, "the same logits in other chunks");
  }
  MemoryPlan smallest = make_plan(*file, model, request);
  for (;;) try {
      request.memory = smallest.peak - 1;
      smallest = make_plan(*file, model, request);
    } catch (const Error&) {
      break;
    }
  expect(smallest.residence.streams_head && smallest.residence.streamed_layers == 2, "the smallest budget to stream all");
  request.memory = smallest.peak;
  expect(check(file, request) == resident, "the same logits of streamed weights");
  if (failures == 0) std::printf("resident and streamed agree\n");
  return failures > 0;
}
