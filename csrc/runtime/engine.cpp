#include "runtime/engine.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <string>

#include "base/error.h"
#include "base/rounding.h"
#include "exec/rotary.h"
#include "models/architectures.h"
#include "ukernels/unpack_row.h"

namespace q3e {
namespace {

Error cancelled() { return {Status::cancelled, "forward: cancelled, and the tokens of this call were taken back"}; }

}  // namespace

Engine::Engine(std::shared_ptr<const ModelFile> file, const PlanRequest& request, Isa isa)
    : file_(std::move(file)),
      model_(read_model(*file_)),
      plan_(make_plan(*file_, model_, request)),
      mapped_(*file_, model_),
      store_(*file_, mapped_, plan_.residence, request.reader),
      kernels_(kernel_table(isa)),
      blocks_(mapped_.all),
      states_(state_of(model_, plan_.settings.kv), plan_.settings.sequences, plan_.settings.context, plan_.pages,
              plan_.settings.snapshots, most_pending(plan_.settings)),
      pass_(kernels_, {config().hidden_size, config().rotated(), config().rms_epsilon}, scratch_request(),
            scratch_of(model_, scratch_request(), plan_.settings.threads), states_),
      threads_(static_cast<int>(plan_.settings.threads)) {
  if (const uint32_t slots = plan_.residence.expert_slots; slots > 0) {
    auto source = std::make_unique<ExpertSlots>(*file_, mapped_.pools, slots, request.reader);
    expert_slots_ = source.get();
    expert_source_ = std::move(source);
  } else if (!mapped_.pools.empty()) {
    expert_source_ = std::make_unique<ResidentExperts>(mapped_.pools);
  }
  pass_.experts = expert_source_.get();
  pass_.min_expert_share = plan_.settings.min_expert_share;
  place_blocks();
  order_turns();
}

Engine::~Engine() = default;

// Where the parts of each block are.
void Engine::place_blocks() {
  StateSpec before;  // of the blocks in front
  uint32_t pool = 0;
  std::map<const Block*, size_t> last;  // of each kind
  for (size_t i = 0; i < model_.blocks.size(); ++i) {
    const auto& [block, layer] = model_.blocks[i];
    const bool enters = i == 0 || model_.blocks[i - 1].layer != layer;
    const bool leaves = i + 1 == model_.blocks.size() || model_.blocks[i + 1].layer != layer;
    const Tensor* tensors = store_.tensors().data() + mapped_.first[i];
    steps_.push_back({block, layer, enters, leaves, {tensors, nullptr, before, pool}});
    if (const auto own = last.find(block); own != last.end() && !store_.streams(layer)) steps_[own->second].place.next = tensors;
    last[block] = i;
    before += block->state(plan_.settings.kv);
    pool += block->experts_per_token() > 0;
    if (const AttentionShape* shape = block->attention();
        shape && std::find(shapes_.begin(), shapes_.end(), *shape) == shapes_.end())
      shapes_.push_back(*shape);
  }
}

// The order in which a pass reads the matrices, so that each step knows what comes next.
void Engine::order_turns() {
  const auto turn_of = [&](uint32_t turn) -> Turn& {
    if (pass_.turns.size() <= turn) pass_.turns.resize(turn + 1);
    return pass_.turns[turn];
  };
  for (size_t i = 0; i < steps_.size(); ++i) {
    const Step& step = steps_[i];
    for (uint32_t t = mapped_.first[i]; t < mapped_.first[i + 1]; ++t) {
      const Tensor& tensor = store_.tensors()[t];
      if (tensor.spec->form == Form::vector) continue;
      Turn& turn = turn_of(tensor.turn);
      turn.is_there = !(step.enters && tensor.spec->turn == 0 && store_.streams(step.layer));
      if (tensor.spec->place == Place::layer) turn.tensors.push_back(&tensor);
      if (tensor.spec->turn != 0) continue;
      turn.cache = step.block->attention();
      turn.page_offset = step.place.states.page_bytes;
    }
  }
  const Tensor& head = store_.tensors()[static_cast<size_t>(mapped_.head - mapped_.all.data())];
  turn_of(head.turn).tensors = {&head};
  turn_of(head.turn).is_there = !store_.streams_head();
}

// ---- the call ----

Engine::Call::Call(Engine& engine) : engine_(engine), lock_(engine.mutex_) {
  if (engine_.busy_)  // by a thread that this process does not have
    throw Error(Status::bad_argument,
                "fork: expected a model that no thread was using when the process forked, found one in a call: load it again");
  engine_.busy_ = true;
}

void Engine::check_sequence(uint32_t sequence) const { require_range<int64_t>("sequence", sequence, 0, states_.sequences() - 1); }

EngineLimits Engine::limits() const {
  const PlanRequest& s = plan_.settings;
  return {s.sequences,          s.context,      s.chunk,
          config().vocab_size,  kKvBlock,       plan_.pages,
          config().hidden_size, s.draft_tokens, states_.snapshot_unit()};
}

std::vector<float> Engine::head_row(uint32_t token) {
  const Call call(*this);
  require_head();
  require_range<int64_t>("token", token, 0, config().vocab_size - 1);
  std::vector<float> row(config().hidden_size);
  unpack_row(mapped_.head->matrix, token, row.data());
  file_->require_undamaged();
  return row;
}

void Engine::require_head() const {
  if (config().headless)
    throw Error(Status::unsupported_model, "logits: expected a model with a head, found one without, for embeddings alone");
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
          pass_.experts_left_out};
}

uint32_t Engine::length(uint32_t sequence) {
  const Call call(*this);
  check_sequence(sequence);
  return states_.length(sequence);
}

uint32_t Engine::truncate(uint32_t sequence, uint32_t length) {
  const Call call(*this);
  check_sequence(sequence);
  if (length > states_.length(sequence))
    throw Error(Status::bad_argument, "length: expected at most the " + std::to_string(states_.length(sequence)) +
                                          " tokens in the cache, found " + std::to_string(length));
  return states_.truncate(sequence, length);
}

void Engine::snapshot(uint32_t sequence, std::span<const int32_t> tokens) {
  const Call call(*this);
  check_sequence(sequence);
  if (!tokens.empty() && tokens.size() != states_.length(sequence))
    throw Error(Status::bad_argument, "tokens: expected all " + std::to_string(states_.length(sequence)) +
                                          " of the sequence, found " + std::to_string(tokens.size()));
  settle(sequence);
  states_.snapshot(sequence, tokens);
}

// A copy of the state has all tokens.
void Engine::settle(uint32_t sequence) {
  if (states_.pending(sequence) == 0) return;
  for (const Step& s : steps_) s.block->settle(kernels_, states_, s.place.states, sequence);
  states_.set_pending(sequence, 0);
}

uint32_t Engine::reuse(uint32_t sequence, std::span<const int32_t> tokens) {
  const Call call(*this);
  check_sequence(sequence);
  states_.truncate(sequence, 0);
  return tokens.empty() ? 0 : states_.reuse(sequence, tokens.first(tokens.size() - 1));
}

void Engine::keep(uint32_t sequence, std::span<const int32_t> tokens) {
  const Call call(*this);
  check_sequence(sequence);
  const uint32_t length = states_.length(sequence);
  if (tokens.size() > length || (tokens.size() < length && tokens.size() % kKvBlock != 0))
    throw Error(Status::bad_argument, "tokens: expected all " + std::to_string(length) + " of the sequence, or whole pages of " +
                                          std::to_string(kKvBlock) + ", found " + std::to_string(tokens.size()));
  if (tokens.size() == length) settle(sequence);
  states_.keep(sequence, tokens);
}

uint32_t Engine::share(uint32_t from, uint32_t to, uint32_t length) {
  const Call call(*this);
  check_sequence(from);
  check_sequence(to);
  if (from == to) throw Error(Status::bad_argument, "share: expected two sequences, found one");
  states_.truncate(to, 0);
  settle(from);
  return states_.share(from, to, std::min(length, states_.length(from)));
}

void Engine::clear_prefixes() {
  const Call call(*this);
  states_.clear_kept();
}

uint32_t Engine::read_page(std::span<const int32_t> tokens, uint32_t index,
                           const std::function<void(std::span<const uint8_t>)>& use) {
  const Call call(*this);
  const auto [page, rows] = states_.cache().kept(tokens, index);
  if (rows == kKvBlock) use({page, page_bytes()});
  if (rows % kKvBlock != 0) {  // a copy, as the other rows may be another sequence's
    std::vector<uint8_t> part(page, page + page_bytes());
    for (const Step& s : steps_) s.block->clear_rows(plan_.settings.kv, rows, part.data() + s.place.states.page_bytes);
    use(part);
  }
  return rows;
}

bool Engine::restore_page(std::span<const int32_t> tokens, const std::function<void(std::span<uint8_t>)>& fill) {
  const Call call(*this);
  return states_.cache().restore(tokens, [&](uint8_t* page) { fill({page, page_bytes()}); });
}

uint32_t Engine::read_state(std::span<const int32_t> tokens, const std::function<void(std::span<const uint8_t>)>& use) {
  const Call call(*this);
  const auto [length, state] = states_.kept_state(tokens);
  if (length > 0) use({state, state_bytes()});
  return length;
}

void Engine::restore_state(std::span<const int32_t> tokens, const std::function<void(std::span<uint8_t>)>& fill) {
  const Call call(*this);
  states_.restore_state(tokens, [&](uint8_t* state) { fill({state, state_bytes()}); });
}

uint32_t Engine::available_pages() {
  const Call call(*this);
  return states_.cache().available();
}

uint32_t Engine::needed_pages(uint32_t sequence, uint32_t begin, uint32_t length) {
  const Call call(*this);
  check_sequence(sequence);
  return states_.cache().needed(sequence, std::min(begin, states_.length(sequence)), length);
}

void Engine::for_each(uint32_t count, const std::function<void(uint32_t)>& f) {
  const Call call(*this);
  threads_.run([&](Worker& w) { w.for_each(count, f); });
}

void Engine::observe(std::shared_ptr<Observer> observer) {
  const Call call(*this);
  pass_.observer = std::move(observer);
}

std::shared_ptr<Observer> Engine::observer() {
  const Call call(*this);
  return pass_.observer;
}

void Engine::check(const Batch& b) const {
  const auto fail = [](const char* what, size_t i, int64_t high, int64_t found) {
    throw Error(Status::bad_argument, std::string(what) + " of batch entry " + std::to_string(i) + ": expected 0 to " +
                                          std::to_string(high) + ", found " + std::to_string(found));
  };
  std::vector<bool> seen(states_.sequences());
  for (size_t i = 0; i < b.count; ++i) {
    if (b.want[i] & kWantLogits) require_head();
    if (!(b.embeddings && b.embeddings[i]) && (b.tokens[i] < 0 || static_cast<uint32_t>(b.tokens[i]) >= config().vocab_size))
      fail("token", i, config().vocab_size - 1, b.tokens[i]);
    if (b.sequences[i] < 0 || static_cast<uint32_t>(b.sequences[i]) >= states_.sequences())
      fail("sequence", i, states_.sequences() - 1, b.sequences[i]);
    if (b.positions[i] < 0 || static_cast<uint32_t>(b.positions[i]) >= states_.context())
      fail("position", i, states_.context() - 1, b.positions[i]);
    if (b.rope_positions)
      for (size_t axis = 0; axis < 3; ++axis)
        if (b.rope_positions[3 * i + axis] < 0) fail("RoPE position", i, INT32_MAX, b.rope_positions[3 * i + axis]);
    if (i > 0 && b.sequences[i] == b.sequences[i - 1]) {
      if (b.positions[i] != b.positions[i - 1] + 1)
        throw Error(Status::bad_argument, "position of batch entry " + std::to_string(i) + ": expected " +
                                              std::to_string(b.positions[i - 1] + 1) + ", found " +
                                              std::to_string(b.positions[i]));
      continue;
    }
    const auto sequence = static_cast<uint32_t>(b.sequences[i]), position = static_cast<uint32_t>(b.positions[i]);
    if (seen[sequence])
      throw Error(Status::bad_argument,
                  "sequence " + std::to_string(sequence) + ": expected consecutive entries, found two runs");
    seen[sequence] = true;
    if (position > states_.length(sequence)) fail("position", i, states_.length(sequence), b.positions[i]);
    if (const uint32_t reached = states_.reachable(sequence, position); reached != position)
      throw Error(Status::bad_argument, "position of batch entry " + std::to_string(i) + ": expected " +
                                            std::to_string(states_.length(sequence)) + ", or " + std::to_string(reached) +
                                            ", the last place before that the sequence can go back to, found " +
                                            std::to_string(position));
  }
}

// Before anything is changed: what was there stays where there is no room for more.
void Engine::check_pages(const std::vector<Run>& runs) const {
  const KvCache& cache = states_.cache();
  uint64_t needed = 0, available = cache.available();
  for (const Run& run : runs) {
    needed += cache.needed(run.sequence, run.position, run.position + run.count);
    available += cache.freed(run.sequence, run.position);
  }
  if (needed > available)
    throw Error(Status::over_budget, "forward: expected room for " + std::to_string(needed) + " more pages of " +
                                         std::to_string(kKvBlock) + " tokens, found " + std::to_string(available) + " free of " +
                                         std::to_string(plan_.pages) +
                                         ": truncate a sequence, or load the model with more memory");
}

void Engine::forward(const Batch& batch, float* logits, float* hidden, const CancelFlag* cancel) {
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
  const std::vector<Run> runs = find_runs(batch);
  check_pages(runs);
  for (const Run& run : runs) states_.truncate(run.sequence, run.position);
  try {
    run_chunks(batch, logits, hidden);
  } catch (...) {  // what was there before is still right
    for (const Run& run : runs) states_.recover(run.sequence, run.position);
    throw;
  }
  if (file_->damaged())
    for (const Run& run : runs) states_.recover(run.sequence, 0);
  file_->require_undamaged();
}

void Engine::run_chunks(const Batch& batch, float* logits, float* hidden) {
  for (size_t i = 0; i < batch.count; i += plan_.settings.chunk) {
    run_chunk(batch.part(i, std::min<size_t>(plan_.settings.chunk, batch.count - i)), logits, hidden);
    logits += pass_.chunk.logits.size() * config().vocab_size;
    if (hidden) hidden += pass_.chunk.hidden.size() * config().hidden_size;
  }
}

void Engine::run_chunk(const Batch& part, float* logits, float* hidden) {
  ends_early_ = cancel_ && cancel_->is_set();
  if (ends_early_) throw cancelled();
  Chunk& chunk = pass_.chunk;
  chunk.prepare(part, states_, shapes_, plan_.settings.threads);
  if (store_.embeds_by_row())
    for (size_t i = 0; i < part.count; ++i)
      if (!(part.embeddings && part.embeddings[i]))
        store_.embed(static_cast<uint32_t>(part.tokens[i]), pass_.at<float>(pass_.layout.x) + i * config().hidden_size);
  store_.begin_pass(!chunk.logits.empty());
  if (!store_.streams_head()) store_.acquire_head(0, head_part_);
  threads_.run([&](Worker& w) {
    const Steps steps(w, pass_);
    steps.expect(0);
    embed(steps);
    if (!run_blocks(steps)) return;
    if (hidden) give_hidden(steps, hidden);
    head(steps, logits);
  });
  store_.require_read();
  if (expert_slots_) expert_slots_->require_read();
  if (ends_early_) throw cancelled();
  for (const Run& run : chunk.runs) states_.set_pending(run.sequence, run.count);
}

// ---- the pass ----

// False when it ended early, or when weights could not be read.
bool Engine::run_blocks(const Steps& steps) {
  Worker& w = steps.worker;
  for (const Step& s : steps_) {
    if (s.enters && !enter(w, store_.streams(s.layer), [&] { store_.acquire_layer(s.layer); })) return false;
    if (s.enters && s.leaves) w.barrier();  // all have read what the last look found
    if (s.leaves && w.index == 0) ends_early_ = cancel_ && cancel_->is_set();
    if (!s.block->step(steps, s.place)) return false;
    if (!s.leaves) continue;
    leave(w, store_.streams(s.layer));
    // One thread looked for all, who would disagree else; the barriers of a layer keep its next look from this one.
    if (ends_early_) return false;
  }
  return true;
}

void Engine::embed(const Steps& steps) {
  const Batch& batch = pass_.chunk.batch;
  const uint32_t half = config().rotated() / 2;
  const float* frequencies = mapped_.frequencies->vector;
  steps.worker.for_each(steps.tokens(), [&](uint32_t t) {
    float* x = steps.x() + size_t{t} * config().hidden_size;
    if (batch.embeddings && batch.embeddings[t])
      std::memcpy(x, batch.embeddings[t], size_t{config().hidden_size} * 4);
    else if (!store_.embeds_by_row())
      unpack_row(mapped_.embedding->matrix, static_cast<uint32_t>(batch.tokens[t]), x);
    const int32_t position = batch.rope_positions ? batch.rope_positions[3 * size_t{t}] : batch.positions[t];
    fill_cos_sin(static_cast<uint32_t>(position), frequencies, half, config().rope_factor,
                 pass_.at<float>(pass_.layout.cos_sin) + size_t{t} * 2 * half);
  });
}

void Engine::give_hidden(const Steps& steps, float* hidden) {
  const uint32_t size = config().hidden_size;
  steps.worker.for_each(static_cast<uint32_t>(pass_.chunk.hidden.size()), [&](uint32_t i) {
    kernels_.rmsnorm(steps.x() + size_t{pass_.chunk.hidden[i]} * size, mapped_.output_norm->vector, size, config().rms_epsilon,
                     hidden + size_t{i} * size);
  });
}

// logits = head(norm(x)) for the tokens that want them, a few at a time so that they fit one matmul call
void Engine::head(const Steps& steps, float* logits) {
  const size_t vocab = config().vocab_size;
  const uint32_t size = config().hidden_size;
  const std::vector<uint32_t>& wanted = pass_.chunk.logits;
  const auto rows = static_cast<uint32_t>(wanted.size());
  const uint32_t block = mapped_.head->matrix.format->block, step = steps.panels_per_item(rows);
  steps.worker.for_each(
      rows, [&](uint32_t i) { steps.norm_row(steps.x() + size_t{wanted[i]} * size, *mapped_.output_norm, block, i); });
  steps.expect(0);
  if (rows == 0) return;
  const Rows normed = steps.normed();
  steps.show(*mapped_.head, normed, rows, "output");
  WorkerScratch& own = steps.own();
  for (uint32_t part = 0; part < store_.head_parts(); ++part) {
    if (!enter(steps.worker, store_.streams_head(), [&] { store_.acquire_head(part, head_part_); })) return;
    const MatrixView& head = head_part_.rows;
    const size_t first_row = size_t{head_part_.first_panel} * kPanelRows;
    steps.worker.for_each((head.panels() + step - 1) / step, [&](uint32_t item) {
      const uint32_t first = item * step, last = std::min(first + step, head.panels());
      const size_t row = size_t{first} * kPanelRows, width = std::min<size_t>(size_t{last} * kPanelRows, head.rows) - row;
      for_each_part(steps.activations(head, normed, rows), [&](uint32_t t, const Activations& few) {
        kernels_.matmul(head, first, last, few, own.tile, kGemmPanels * kPanelRows, own.matmul);
        for (uint32_t i = 0; i < few.tokens; ++i)
          std::memcpy(logits + (t + i) * vocab + first_row + row, own.tile + i * kGemmPanels * kPanelRows, width * 4);
      });
    });
    leave(steps.worker, store_.streams_head());
  }
}

// ---- weights that are not resident ----

// All threads wait for what is streamed, which one of them acquires; false when it could not be read.
template <class F>
bool Engine::enter(Worker& w, bool streamed, F&& acquire) {
  if (!streamed) return true;
  if (w.index == 0) acquire();
  w.barrier();
  return !store_.failed();
}

// Every thread is done with what it entered, as the last step ended with a barrier: the next reads may begin.
void Engine::leave(Worker& w, bool streamed) {
  if (streamed && w.index == 0) store_.release();
}

}  // namespace q3e
