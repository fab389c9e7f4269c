#include "exec/sequence_states.h"

#include <algorithm>
#include <cstring>

namespace q3e {

SequenceStates::SequenceStates(const StateSpec& bytes, uint32_t sequences, uint32_t context, uint32_t pages, uint32_t snapshots,
                               uint32_t most_pending)
    : bytes_(bytes),
      cache_(bytes.page_bytes, sequences, context, pages, bytes.open_bytes > 0),
      fixed_(bytes.fixed_bytes * sequences, "states of sequences"),
      snapshots_(bytes.fixed_bytes, (sequences + 1) * snapshots),
      most_pending_(bytes.pending_bytes ? most_pending : 0),
      pending_(bytes.pending_bytes * most_pending * sequences, "pending tokens of sequences"),
      pending_counts_(sequences, 0),
      open_(bytes.open_bytes * sequences, "open keys of sequences"),
      open_pages_(sequences, kNoPage) {}

uint32_t SequenceStates::reachable(uint32_t sequence, uint32_t length) const {
  const uint32_t present = this->length(sequence);
  if (length >= present) return present;
  if (length + pending(sequence) >= present && last_cut(sequence, length) == length) return length;
  return last_place(sequence, length);
}

void SequenceStates::grow(uint32_t sequence, uint32_t length) {
  cache_.grow(sequence, length);
  open_pages_[sequence] = (length - 1) / kKvBlock;
}

uint32_t SequenceStates::last_place(uint32_t sequence, uint32_t length) const {
  for (;;) {
    const uint32_t at = bytes_.fixed_bytes == 0 ? length : snapshots_.last(sequence, length);
    length = last_cut(sequence, at);
    if (length == at) return at;
  }
}

uint32_t SequenceStates::last_cut(uint32_t sequence, uint32_t length) const {
  const uint32_t page = length / kKvBlock;
  return !packs_keys() || open_pages_[sequence] == page ? length : page * kKvBlock;
}

uint32_t SequenceStates::truncate(uint32_t sequence, uint32_t length) {
  const uint32_t reached = reachable(sequence, length), less = this->length(sequence) - reached;
  if (less <= pending(sequence))
    pending_counts_[sequence] -= less;
  else if (bytes_.fixed_bytes > 0)
    restore(sequence, reached);
  cut(sequence, reached);
  return reached;
}

void SequenceStates::recover(uint32_t sequence, uint32_t length) {
  pending_counts_[sequence] = 0;
  length = last_place(sequence, length);
  if (bytes_.fixed_bytes > 0) restore(sequence, length);
  cut(sequence, length);
}

void SequenceStates::cut(uint32_t sequence, uint32_t length) {
  cache_.truncate(sequence, length);
  if (uint32_t& open = open_pages_[sequence]; open != kNoPage && length <= open * kKvBlock) open = kNoPage;
}

// The fixed state as it was at `length`, a snapshot's or 0.
void SequenceStates::restore(uint32_t sequence, uint32_t length) {
  snapshots_.forget(sequence, length);
  pending_counts_[sequence] = 0;
  if (const uint8_t* state = snapshots_.of(sequence, length))
    std::memcpy(fixed(sequence), state, bytes_.fixed_bytes);
  else
    std::memset(fixed(sequence), 0, bytes_.fixed_bytes);
}

void SequenceStates::snapshot(uint32_t sequence, std::span<const int32_t> tokens) {
  const uint32_t length = this->length(sequence), unit = snapshot_unit();
  if (unit == 0 || length == 0 || (!tokens.empty() && length % unit != 0)) return;
  snapshots_.add(sequence, length, tokens, fixed(sequence));
}

// ---- what others may go on from ----

uint32_t SequenceStates::reuse(uint32_t sequence, std::span<const int32_t> tokens) {
  if (bytes_.fixed_bytes == 0) return cache_.reuse(sequence, tokens);
  for (;;) {
    const auto [length, state] = snapshots_.find(tokens);
    if (length == 0) return 0;
    tokens = tokens.first(length);
    if (cache_.reuse(sequence, tokens) == length) {
      std::memcpy(fixed(sequence), state, bytes_.fixed_bytes);
      snapshots_.own(sequence, tokens);
      return length;
    }
    cache_.truncate(sequence, 0);  // its pages were given up, or nobody has kept the last one yet
    tokens = tokens.first(length - 1);
  }
}

void SequenceStates::keep(uint32_t sequence, std::span<const int32_t> tokens) {
  cache_.keep(sequence, tokens);
  if (tokens.size() == length(sequence)) snapshot(sequence, tokens);
}

uint32_t SequenceStates::share(uint32_t from, uint32_t to, uint32_t length) {
  if (bytes_.fixed_bytes == 0) return cache_.share(from, to, length);
  length = reachable(from, std::min(length, this->length(from)));
  while (length % snapshot_unit() != 0) length = reachable(from, length - 1);
  const uint8_t* state = length == this->length(from) ? fixed(from) : snapshots_.of(from, length);
  if (length == 0 || !state) return 0;
  std::memcpy(fixed(to), state, bytes_.fixed_bytes);
  snapshots_.share(from, to, length);
  return cache_.share(from, to, length);
}

void SequenceStates::clear_kept() {
  cache_.clear_prefixes();
  snapshots_.clear();
}

bool SequenceStates::has_pages(std::span<const int32_t> tokens) {
  const auto last = static_cast<uint32_t>((tokens.size() - 1) / kKvBlock);
  return size_t{last} * kKvBlock + cache_.kept(tokens, last).tokens == tokens.size();
}

StateSnapshots::Found SequenceStates::kept_state(std::span<const int32_t> tokens) {
  for (;;) {
    const StateSnapshots::Found found = snapshots_.find(tokens);
    if (found.length == 0 || has_pages(tokens.first(found.length))) return found;
    tokens = tokens.first(found.length - 1);
  }
}

void SequenceStates::restore_state(std::span<const int32_t> tokens, const std::function<void(uint8_t*)>& fill) {
  uint8_t* state = tokens.empty() || bytes_.fixed_bytes == 0 ? nullptr : snapshots_.make(tokens);
  if (!state) return;
  try {
    fill(state);
  } catch (...) {
    snapshots_.drop(tokens);
    throw;
  }
}

}  // namespace q3e
