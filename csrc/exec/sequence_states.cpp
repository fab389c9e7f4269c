#include "exec/sequence_states.h"

#include <algorithm>
#include <cstring>

namespace q3e {

SequenceStates::SequenceStates(const StateSpec& bytes, uint32_t sequences, uint32_t context, uint32_t pages, uint32_t snapshots)
    : bytes_(bytes),
      cache_(bytes.page_bytes, sequences, context, pages, bytes.open_bytes > 0),
      most_snapshots_(snapshots),
      fixed_(own_memory({0, bytes.fixed_bytes, 0}, sequences, snapshots), "states of sequences"),
      snapshots_(sequences),
      open_(own_memory({0, 0, bytes.open_bytes}, sequences, 0), "open keys of sequences"),
      open_pages_(sequences, kNoPage) {
  for (std::vector<Snapshot>& own : snapshots_) own.reserve(snapshots);
}

uint32_t SequenceStates::reachable(uint32_t sequence, uint32_t length) const {
  const uint32_t present = this->length(sequence);
  return length >= present ? present : last_place(sequence, length);
}

void SequenceStates::grow(uint32_t sequence, uint32_t length) {
  cache_.grow(sequence, length);
  open_pages_[sequence] = (length - 1) / kKvBlock;
}

uint32_t SequenceStates::last_place(uint32_t sequence, uint32_t length) const {
  for (;;) {
    const uint32_t at = shares() ? length : last_snapshot(sequence, length);
    length = last_cut(sequence, at);
    if (length == at) return at;
  }
}

uint32_t SequenceStates::last_cut(uint32_t sequence, uint32_t length) const {
  const uint32_t page = length / kKvBlock;
  return !packs_keys() || open_pages_[sequence] == page ? length : page * kKvBlock;
}

uint32_t SequenceStates::last_snapshot(uint32_t sequence, uint32_t length) const {
  uint32_t most = 0;
  for (const Snapshot& s : snapshots_[sequence])
    if (s.length <= length) most = std::max(most, s.length);
  return most;
}

uint32_t SequenceStates::truncate(uint32_t sequence, uint32_t length) {
  const uint32_t reached = reachable(sequence, length);
  if (!shares() && reached < this->length(sequence)) restore(sequence, reached);
  cut(sequence, reached);
  return reached;
}

void SequenceStates::recover(uint32_t sequence, uint32_t length) {
  length = last_place(sequence, length);
  if (!shares()) restore(sequence, length);
  cut(sequence, length);
}

void SequenceStates::cut(uint32_t sequence, uint32_t length) {
  cache_.truncate(sequence, length);
  if (uint32_t& open = open_pages_[sequence]; open != kNoPage && length <= open * kKvBlock) open = kNoPage;
}

// The fixed state as it was at `length`, a snapshot's or 0. What was copied behind it is no part of the sequence any more.
void SequenceStates::restore(uint32_t sequence, uint32_t length) {
  std::vector<Snapshot>& own = snapshots_[sequence];
  own.erase(std::remove_if(own.begin(), own.end(), [&](const Snapshot& s) { return s.length > length; }), own.end());
  const auto at = std::find_if(own.begin(), own.end(), [&](const Snapshot& s) { return s.length == length; });
  if (at == own.end())
    std::memset(fixed(sequence), 0, bytes_.fixed_bytes);
  else
    std::memcpy(fixed(sequence), fixed_state(sequence, at->place), bytes_.fixed_bytes);
}

void SequenceStates::snapshot(uint32_t sequence) {
  const uint32_t length = this->length(sequence);
  if (shares() || most_snapshots_ == 0 || length == 0 || reachable(sequence, length - 1) == length) return;
  std::vector<Snapshot>& own = snapshots_[sequence];
  if (std::any_of(own.begin(), own.end(), [&](const Snapshot& s) { return s.length == length; })) return;
  uint32_t place = static_cast<uint32_t>(own.size()) + 1;
  if (own.size() == most_snapshots_) {
    place = own.front().place;
    own.erase(own.begin());
  } else {
    const auto taken = [&](uint32_t p) {
      return std::any_of(own.begin(), own.end(), [&](const Snapshot& s) { return s.place == p; });
    };
    for (place = 1; taken(place); ++place) {
    }
  }
  std::memcpy(fixed_state(sequence, place), fixed(sequence), bytes_.fixed_bytes);
  own.push_back({length, place});
}

}  // namespace q3e
