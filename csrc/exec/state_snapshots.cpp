#include "exec/state_snapshots.h"

#include <algorithm>
#include <cstring>

#include "exec/prefix_cache.h"

namespace q3e {

StateSnapshots::StateSnapshots(size_t state_bytes, uint32_t count)
    : state_bytes_(state_bytes), memory_(state_bytes * count, "snapshots of states"), all_(state_bytes ? count : 0) {}

bool StateSnapshots::has(const Snapshot& s, uint32_t sequence) const {
  return std::find(s.sequences.begin(), s.sequences.end(), sequence) != s.sequences.end();
}

uint8_t* StateSnapshots::data(const Snapshot& s) const {
  return memory_.data() + static_cast<size_t>(&s - all_.data()) * state_bytes_;
}

StateSnapshots::Snapshot* StateSnapshots::exact(std::span<const int32_t> tokens) {
  if (tokens.empty()) return nullptr;
  const auto at = std::find_if(all_.begin(), all_.end(), [&](const Snapshot& s) {
    return std::equal(s.tokens.begin(), s.tokens.end(), tokens.begin(), tokens.end());
  });
  return at == all_.end() ? nullptr : &*at;
}

StateSnapshots::Snapshot* StateSnapshots::take() {
  if (all_.empty()) return nullptr;
  const auto rank = [](const Snapshot& s) { return s.length == 0 ? 0 : s.used; };
  Snapshot& s = *std::min_element(all_.begin(), all_.end(), [&](const auto& a, const auto& b) { return rank(a) < rank(b); });
  s = {};
  return &s;
}

void StateSnapshots::add(uint32_t sequence, uint32_t length, std::span<const int32_t> tokens, const uint8_t* state) {
  Snapshot* s = exact(tokens);
  if (!s) {
    const auto own =
        std::find_if(all_.begin(), all_.end(), [&](const Snapshot& o) { return o.length == length && has(o, sequence); });
    s = own == all_.end() ? nullptr : &*own;
  }
  if (!s) {
    s = take();
    if (!s) return;
    std::memcpy(data(*s), state, state_bytes_);
  }
  s->length = length;
  if (!tokens.empty()) s->tokens.assign(tokens.begin(), tokens.end());
  if (!has(*s, sequence)) s->sequences.push_back(sequence);
  s->used = ++clock_;
}

uint32_t StateSnapshots::last(uint32_t sequence, uint32_t length) const {
  uint32_t most = 0;
  for (const Snapshot& s : all_)
    if (s.length <= length && has(s, sequence)) most = std::max(most, s.length);
  return most;
}

const uint8_t* StateSnapshots::of(uint32_t sequence, uint32_t length) const {
  for (const Snapshot& s : all_)
    if (s.length == length && has(s, sequence)) return data(s);
  return nullptr;
}

void StateSnapshots::forget(uint32_t sequence, uint32_t length) {
  for (Snapshot& s : all_) {
    if (s.length <= length) continue;
    std::erase(s.sequences, sequence);
    if (s.sequences.empty() && s.tokens.empty()) s = {};
  }
}

void StateSnapshots::share(uint32_t from, uint32_t to, uint32_t length) {
  for (Snapshot& s : all_)
    if (s.length > 0 && s.length <= length && has(s, from) && !has(s, to)) s.sequences.push_back(to);
}

StateSnapshots::Found StateSnapshots::find(std::span<const int32_t> tokens) {
  Snapshot* best = nullptr;
  for (Snapshot& s : all_)
    if (!s.tokens.empty() && s.length <= tokens.size() && (!best || s.length > best->length) &&
        common_length(s.tokens, tokens) == s.length)
      best = &s;
  if (!best) return {};
  best->used = ++clock_;
  return {best->length, data(*best)};
}

uint8_t* StateSnapshots::make(std::span<const int32_t> tokens) {
  Snapshot* s = exact(tokens);
  if (!s) s = take();
  if (!s) return nullptr;
  s->length = static_cast<uint32_t>(tokens.size());
  s->tokens.assign(tokens.begin(), tokens.end());
  s->used = ++clock_;
  return data(*s);
}

void StateSnapshots::own(uint32_t sequence, std::span<const int32_t> tokens) {
  Snapshot* s = exact(tokens);
  if (s && !has(*s, sequence)) s->sequences.push_back(sequence);
}

void StateSnapshots::drop(std::span<const int32_t> tokens) {
  if (Snapshot* s = exact(tokens)) *s = {};
}

void StateSnapshots::clear() {
  for (Snapshot& s : all_) {
    s.tokens.clear();
    if (s.sequences.empty()) s = {};
  }
}

}  // namespace q3e
