#include "runtime/expert_slots.h"

#include <algorithm>
#include <chrono>
#include <string>

#include "base/error.h"

namespace q3e {
namespace {

size_t bytes_of(const MatrixView& m) { return size_t{m.panels()} * m.layout.bytes; }

// The most pages that an expert of any pool takes.
size_t room_for(const ModelFile& file, std::span<const ExpertPool> pools, MatrixView ExpertWeights::* matrix) {
  size_t most = 0;
  for (const ExpertPool& pool : pools)
    for (uint32_t e = 0; e < pool.experts; ++e) {
      const MatrixView m = pool.expert(e).*matrix;
      const auto begin = static_cast<uint64_t>(m.data - file.bytes());
      most = std::max<size_t>(most, page_ceil(begin + bytes_of(m)) - page_floor(begin));
    }
  return most;
}

}  // namespace

ExpertSlotLayout::ExpertSlotLayout(const ModelFile& file, std::span<const ExpertPool> pools)
    : gate_up_bytes(room_for(file, pools, &ExpertWeights::gate_up)), down_bytes(room_for(file, pools, &ExpertWeights::down)) {}

uint32_t ExpertSlotLayout::least(std::span<const ExpertPool> pools) {
  uint32_t most = 0;
  for (const ExpertPool& pool : pools) most = std::max(most, 2 * pool.experts_per_token);
  return most;
}

ExpertSlots::ExpertSlots(const ModelFile& file, std::span<const ExpertPool> pools, uint32_t slots, ReadMethod method)
    : file_(file),
      pools_(pools.begin(), pools.end()),
      experts_(pools_.front().experts),
      layout_(file, pools),
      direct_(file.path(), file.identity()),
      method_(method),
      slots_(slots),
      group_(std::max(pools_.front().experts_per_token, std::min(slots / 8, kMostGroup))),
      guesses_(std::min(slots / 16, kMostGuesses)),
      slot_of_(pools_.size() * experts_),
      order_(experts_) {
  asked_.reserve(experts_);
  guessed_.reserve(guesses_ + kMostLikely);
  likely_.reserve(pools_.front().experts_per_token);
  empty_.reserve(slots);
  renew();
}

void ExpertSlots::renew() {
  reader_.reset();  // before what it fills
  memory_ = make_at_home<MemoryRegion>(slots_.size() * layout_.bytes(), "slots for experts", Pages::large, Children::none);
  reader_ = make_at_home<DirectReader>(direct_, method_);
  std::fill(slots_.begin(), slots_.end(), Slot{});
  std::fill(slot_of_.begin(), slot_of_.end(), kNone);
  newest_ = oldest_ = kNone;
  empty_.clear();
  for (auto i = static_cast<uint32_t>(slots_.size()); i-- > 0;) empty_.push_back(i);
  forget_asked();
}

void ExpertSlots::forget_asked() {
  failure_ = 0;
  asked_.clear();
  guessed_.clear();
  likely_.clear();
  left_ = 0;
}

// ---- which expert is where ----

void ExpertSlots::unlink(uint32_t slot) {
  Slot& s = slots_[slot];
  (s.newer == kNone ? newest_ : slots_[s.newer].older) = s.older;
  (s.older == kNone ? oldest_ : slots_[s.older].newer) = s.newer;
}

void ExpertSlots::link(uint32_t slot, bool oldest) {
  Slot& s = slots_[slot];
  s.newer = oldest ? oldest_ : kNone;
  s.older = oldest ? kNone : newest_;
  (s.newer == kNone ? newest_ : slots_[s.newer].older) = slot;
  (s.older == kNone ? oldest_ : slots_[s.older].newer) = slot;
}

// An empty slot, or the oldest that nobody holds, out of the list; kNone when all are held.
uint32_t ExpertSlots::free_slot() {
  uint32_t slot = oldest_;
  if (!empty_.empty()) {
    slot = empty_.back();
    empty_.pop_back();
    return slot;
  }
  uint32_t on_its_way = kNone;  // a wrong guess: only waited for when there is nothing else
  for (; slot != kNone; slot = slots_[slot].newer) {
    if (slots_[slot].held || slots_[slot].ahead) continue;
    if (slots_[slot].ready || is_there(slot)) break;
    if (on_its_way == kNone) on_its_way = slot;
  }
  if (slot == kNone) slot = on_its_way;
  if (slot == kNone) return kNone;
  Slot& s = slots_[slot];
  if (!s.ready) finish(slot);
  if (slot_of_[s.key] == slot) slot_of_[s.key] = kNone;
  unlink(slot);
  return slot;
}

// Begins to read an expert into a slot; false when there is none.
bool ExpertSlots::fetch(uint32_t key, bool scanning) {
  const uint32_t slot = free_slot();
  if (slot == kNone) return false;
  Slot& s = slots_[slot];
  s.key = key;
  slot_of_[key] = slot;
  link(slot, scanning);
  s.ready = false;
  const ExpertWeights weights = expert(key);
  for (const bool down : {false, true}) {
    const MatrixView& m = down ? weights.down : weights.gate_up;
    const auto begin = static_cast<uint64_t>(m.data - file_.bytes());
    FileRead& read = s.reads[down];
    read.offset = page_floor(begin);
    read.bytes = page_ceil(begin + bytes_of(m)) - read.offset;
    read.needed = begin + bytes_of(m) - read.offset;
    read.to = memory(slot) + (down ? layout_.gate_up_bytes : 0);
    read.fresh = s.fresh;
    reader_->start(read);
  }
  s.fresh = false;
  return true;
}

// Waits for a slot's reads. An expert that could not be read is forgotten.
void ExpertSlots::finish(uint32_t slot) {
  Slot& s = slots_[slot];
  for (FileRead& read : s.reads)
    if (const int code = reader_->finish(read); code != 0) {
      failure_ = code;
      if (slot_of_[s.key] == slot) slot_of_[s.key] = kNone;
    }
  s.ready = true;
}

// ---- the calls ----

uint32_t ExpertSlots::begin(uint32_t pool, std::span<uint32_t> experts) noexcept {
  const auto start = std::chrono::steady_clock::now();
  const uint32_t count = failure_ == 0 ? ask(pool, experts) : 0;
  metrics_.wait_seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return failure_ == 0 ? count : 0;
}

uint32_t ExpertSlots::ask(uint32_t pool, std::span<uint32_t> experts) {
  const bool goes_on = pool == pool_ && left_ > 0 && experts.size() == left_;
  if (!goes_on) {
    wanted_ = static_cast<uint32_t>(experts.size());
    forget_guesses(pool, experts);
    likely_.clear();
  }
  const bool scanning = 2 * wanted_ > experts_;
  const auto key_of = [&](uint32_t e) { return pool * experts_ + e; };
  if (!goes_on)
    for (const uint32_t e : experts)
      if (const uint32_t slot = slot_of_[key_of(e)]; slot != kNone && (!slots_[slot].ahead || !scanning)) {
        unlink(slot);
        link(slot, false);
      }
  uint32_t count = hold_ready(pool, experts);
  if (failure_ != 0) return 0;
  uint32_t flying = 0;
  for (const uint32_t e : experts.subspan(count)) {
    if (flying == 2 * group_) break;
    const uint32_t key = key_of(e);
    if (slot_of_[key] == kNone) {
      if (!fetch(key, scanning)) break;
      slots_[slot_of_[key]].ahead = true;
    }
    ++flying;
  }
  if (count == 0 && flying > 0) {
    if (flying == 1 && experts.size() == 1) read_likely();  // behind the last one, so that the disk goes on
    finish(slot_of_[key_of(experts[0])]);
    if (failure_ != 0) return 0;
    count = hold_ready(pool, experts);
  }
  pool_ = pool;
  left_ = static_cast<uint32_t>(experts.size()) - count;
  if (left_ == 0) read_likely();
  if (4 * wanted_ > 3 * experts_ && left_ <= group_) guess(pool + 1);
  return count;
}

// Puts the experts that are there in front, each part in the order that it had, and holds them. Returns how many.
uint32_t ExpertSlots::hold_ready(uint32_t pool, std::span<uint32_t> experts) {
  asked_.clear();
  size_t behind = 0;
  for (size_t i = 0; i < experts.size(); ++i) {
    const uint32_t e = experts[i], slot = slot_of_[pool * experts_ + e];
    if (slot != kNone && !slots_[slot].ready && is_there(slot)) finish(slot);
    if (slot == kNone || !slots_[slot].ready) {
      order_[behind++] = e;
      continue;
    }
    Slot& s = slots_[slot];
    ++(s.ahead ? metrics_.misses : metrics_.hits);
    s.ahead = false;
    s.held = true;
    experts[asked_.size()] = e;
    asked_.push_back(slot);
  }
  std::copy_n(order_.begin(), behind, experts.begin() + static_cast<std::ptrdiff_t>(asked_.size()));
  return static_cast<uint32_t>(asked_.size());
}

bool ExpertSlots::is_there(uint32_t slot) {
  for (const FileRead& read : slots_[slot].reads)
    if (!reader_->is_there(read)) return false;
  return true;
}

// Reads an expert before anyone asked; false when there is no slot for it.
bool ExpertSlots::fetch_guess(uint32_t key) {
  if (!fetch(key, true)) return false;
  slots_[slot_of_[key]].ahead = true;
  guessed_.push_back(slot_of_[key]);
  ++metrics_.guesses;
  return true;
}

// Reads some of a pool's experts, while attention is computed, for a chunk that will need nearly all of them.
void ExpertSlots::guess(uint32_t pool) {
  if (pool == pools_.size()) return;
  for (uint32_t e = 0; e < experts_ && guessed_.size() < guesses_; ++e)
    if (const uint32_t key = pool * experts_ + e; slot_of_[key] == kNone && !fetch_guess(key)) return;
}

void ExpertSlots::foresee(uint32_t pool, std::span<const uint32_t> likely) noexcept {
  for (const uint32_t e : likely.first((likely.size() + 1) / 2)) likely_.push_back(pool * experts_ + e);
  if (left_ == 0) read_likely();
}

// While experts, attention and the next router are computed the disk would be idle: time for about one more expert. As many as
// are surely read in it, since a wrong guess keeps the disk from what is needed.
void ExpertSlots::read_likely() {
  uint32_t count = 0;
  for (const uint32_t key : likely_) {
    if (count == kMostLikely) break;
    if (slot_of_[key] != kNone) continue;
    if (!fetch_guess(key)) break;
    ++count;
  }
  likely_.clear();
}

// Slots of experts that were guessed and are not wanted may be taken again.
void ExpertSlots::forget_guesses(uint32_t pool, std::span<const uint32_t> experts) {
  for (const uint32_t slot : guessed_) {
    const auto is_it = [&](uint32_t e) { return pool * experts_ + e == slots_[slot].key; };
    slots_[slot].ahead = std::any_of(experts.begin(), experts.end(), is_it);
    metrics_.right_guesses += slots_[slot].ahead;
  }
  guessed_.clear();
}

ExpertWeights ExpertSlots::get(uint32_t index) noexcept {
  const Slot& s = slots_[asked_[index]];
  ExpertWeights w = expert(s.key);
  const auto place = [&](MatrixView& m, const FileRead& read) { m.data = read.to + (m.data - file_.bytes() - read.offset); };
  place(w.gate_up, s.reads[0]);
  place(w.down, s.reads[1]);
  return w;
}

void ExpertSlots::end() noexcept {
  for (const uint32_t slot : asked_) slots_[slot].held = false;
  asked_.clear();
}

void ExpertSlots::require_read() {
  const int code = failure_;
  if (code == 0) return;
  for (Slot& s : slots_) s.held = s.ahead = false;
  forget_asked();
  throw direct_.failure(code);
}

ExpertMetrics ExpertSlots::metrics() {
  metrics_.bytes_read = reader_->bytes_read();
  return metrics_;
}

}  // namespace q3e
