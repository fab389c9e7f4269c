#include "runtime/prompt_lookup.h"

#include <algorithm>
#include <bit>

namespace q3e {

PromptLookup::PromptLookup(uint32_t context) : last_(std::bit_ceil(context)) {
  before_.reserve(context);
  before_.resize(kShortest);
}

uint64_t PromptLookup::memory(uint32_t context) {
  return (uint64_t{std::bit_ceil(context)} + context + kShortest) * sizeof(uint32_t);
}

uint32_t& PromptLookup::last(const int32_t* tokens) {
  uint64_t hash = 14695981039346656037u;
  for (uint32_t i = 0; i < kShortest; ++i) hash = (hash ^ static_cast<uint32_t>(tokens[i])) * 1099511628211u;
  return last_[(hash ^ hash >> 32) & (last_.size() - 1)];
}

PromptLookup::Found PromptLookup::find(std::span<const int32_t> tokens) {
  const auto size = static_cast<uint32_t>(tokens.size());
  // The last tokens themselves are noted with the next call: nothing has followed them yet.
  for (auto at = static_cast<uint32_t>(before_.size()); at < size; ++at) {
    uint32_t& place = last(tokens.data() + at - kShortest);
    before_.push_back(place);
    place = at;
  }
  Found best;
  if (size < kShortest) return best;
  uint32_t at = last(tokens.data() + size - kShortest);
  for (uint32_t place = 0; at != 0 && place < kPlaces; ++place, at = before_[at]) {
    const uint32_t most = std::min(at, kLongest);
    uint32_t agreed = 0;
    while (agreed < most && tokens[at - 1 - agreed] == tokens[size - 1 - agreed]) ++agreed;
    if (agreed >= kShortest && agreed > best.agreed) best = {at, agreed};
    if (agreed == kLongest) break;
  }
  return best;
}

}  // namespace q3e
