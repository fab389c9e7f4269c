#include "exec/sequence_states.h"

#include <algorithm>
#include <cstring>

namespace q3e {

SequenceStates::SequenceStates(size_t page_bytes, size_t fixed_bytes, uint32_t sequences, uint32_t context, uint32_t pages,
                               uint32_t snapshots)
    : cache_(page_bytes, sequences, context, pages),
      fixed_bytes_(fixed_bytes),
      most_snapshots_(snapshots),
      fixed_(fixed_memory(fixed_bytes, sequences, snapshots), "states of sequences"),
      snapshots_(sequences) {
  for (std::vector<Snapshot>& own : snapshots_) own.reserve(snapshots);
}

uint32_t SequenceStates::reachable(uint32_t sequence, uint32_t length) const {
  const uint32_t present = this->length(sequence);
  return fixed_bytes_ == 0 || length >= present ? std::min(length, present) : last_snapshot(sequence, length);
}

uint32_t SequenceStates::last_snapshot(uint32_t sequence, uint32_t length) const {
  uint32_t most = 0;
  for (const Snapshot& s : snapshots_[sequence])
    if (s.length <= length) most = std::max(most, s.length);
  return most;
}

uint32_t SequenceStates::truncate(uint32_t sequence, uint32_t length) {
  const uint32_t reached = reachable(sequence, length);
  if (fixed_bytes_ > 0 && reached < this->length(sequence)) restore(sequence, reached);
  cache_.truncate(sequence, reached);
  return reached;
}

void SequenceStates::recover(uint32_t sequence, uint32_t length) {
  if (fixed_bytes_ > 0) restore(sequence, length = last_snapshot(sequence, length));
  cache_.truncate(sequence, length);
}

// The fixed state as it was at `length`, a snapshot's or 0. What was copied behind it is no part of the sequence any more.
void SequenceStates::restore(uint32_t sequence, uint32_t length) {
  std::vector<Snapshot>& own = snapshots_[sequence];
  own.erase(std::remove_if(own.begin(), own.end(), [&](const Snapshot& s) { return s.length > length; }), own.end());
  const auto at = std::find_if(own.begin(), own.end(), [&](const Snapshot& s) { return s.length == length; });
  if (at == own.end())
    std::memset(fixed(sequence), 0, fixed_bytes_);
  else
    std::memcpy(fixed(sequence), fixed_state(sequence, at->place), fixed_bytes_);
}

void SequenceStates::snapshot(uint32_t sequence) {
  const uint32_t length = this->length(sequence);
  if (fixed_bytes_ == 0 || most_snapshots_ == 0 || length == 0 || reachable(sequence, length - 1) == length) return;
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
  std::memcpy(fixed_state(sequence, place), fixed(sequence), fixed_bytes_);
  own.push_back({length, place});
}

}  // namespace q3e
