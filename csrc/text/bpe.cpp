#include "text/bpe.h"

#include <algorithm>
#include <functional>
#include <future>

#include "base/cpu_features.h"
#include "base/error.h"
#include "text/byte_alphabet.h"
#include "text/hash.h"
#include "text/token_index.h"

namespace q3e {
namespace {

constexpr uint32_t kNone = UINT32_MAX;
constexpr size_t kAhead = 32;  // tokens or merges that are looked up together, so that their waits for memory overlap

[[noreturn]] void fail(const std::string& text) { throw Error(Status::bad_file, "expected " + text); }

// Checked before anything is stored as 32 bits.
void require_counts(size_t tokens, size_t kinds, size_t merges) {
  constexpr size_t kMost = size_t{1} << 30;
  if (kinds != tokens)
    fail("one tokenizer.ggml.token_type for each of " + std::to_string(tokens) + " tokens, found " + std::to_string(kinds));
  if (tokens > kMost || merges > kMost) fail("at most 2^30 tokens and merges");
}

// One symbol of a word while its parts merge: a list, linked by index.
struct Symbol {
  uint32_t token;
  uint32_t previous, next;  // kNone at the ends
};

}  // namespace

Bpe::Bpe(std::span<const std::string_view> tokens, std::span<const int32_t> kinds, std::span<const std::string_view> merges) {
  require_counts(tokens.size(), kinds.size(), merges.size());
  TokenIndex index(tokens);
  read_tokens(tokens, kinds, index);
  for (uint32_t byte = 0; byte < 256; ++byte) {
    const uint32_t id = index.find(byte_character(static_cast<uint8_t>(byte)));
    if (id == kNoToken || static_cast<TokenKind>(kinds[id]) != TokenKind::normal) {
      constexpr char kHex[] = "0123456789abcdef";
      fail(std::string("a token for every byte, found none for 0x") + kHex[byte >> 4] + kHex[byte & 15]);
    }
    byte_tokens_[byte] = id;
  }
  read_merges(tokens, kinds, merges, index);
}

Bpe Bpe::read(const ModelFile& file) {
  try {
    const std::vector<int32_t> kinds = file.array("tokenizer.ggml.token_type", ValueType::i32).values<int32_t>();
    std::vector<std::string_view> merges;
    if (file.find_key("tokenizer.ggml.merges")) merges = file.array("tokenizer.ggml.merges", ValueType::string).as_strings();
    Bpe bpe(file.array("tokenizer.ggml.tokens", ValueType::string).as_strings(), kinds, merges);
    file.require_undamaged();
    return bpe;
  } catch (...) {
    file.require_undamaged();  // zeros in place of lost pages look like any other fault: name the cause
    throw;
  }
}

void Bpe::read_tokens(std::span<const std::string_view> tokens, std::span<const int32_t> kinds, TokenIndex& index) {
  size_t stored = 0;
  for (const std::string_view token : tokens) stored += token.size();
  if (stored >= UINT32_MAX) fail("tokens of less than 4 GiB");
  bytes_.reserve(stored);
  starts_.reserve(tokens.size() + 1);
  uint64_t hashes[kAhead];
  for (uint32_t id = 0; id < tokens.size(); ++id) {
    if (id % kAhead == 0)
      for (size_t i = 0; i < kAhead && id + i < tokens.size(); ++i) index.prefetch_slot(hashes[i] = index.hash(tokens[id + i]));
    starts_.push_back(static_cast<uint32_t>(bytes_.size()));
    const std::string_view text = tokens[id];
    const auto kind = static_cast<TokenKind>(kinds[id]);
    if (kind == TokenKind::unused) continue;
    if (text.empty()) fail("a text for token " + std::to_string(id) + ", found none");
    if (!index.insert(id, hashes[id % kAhead]))
      fail("different tokens in tokenizer.ggml.tokens, found " + quoted(text) + " twice");
    if (kind == TokenKind::normal) {
      if (!append_token_bytes(text, bytes_)) bytes_ += text;
    } else if (kind == TokenKind::control || kind == TokenKind::user_defined) {
      bytes_ += text;
      added_.push_back({std::string(text), id, kind == TokenKind::control});
    } else {
      fail("token_type 1, 3, 4 or 5, found " + std::to_string(kinds[id]) + " for token " + std::to_string(id));
    }
  }
  starts_.push_back(static_cast<uint32_t>(bytes_.size()));
  bytes_.shrink_to_fit();
}

// Half of the look-ups on another thread, if there is one to be had: they are most of the time that a start takes.
void Bpe::read_merges(std::span<const std::string_view> tokens, std::span<const int32_t> kinds,
                      std::span<const std::string_view> merges, const TokenIndex& index) {
  mask_ = hash_slots(merges.size()) - 1;
  seed_ = hash_seed();
  slots_ = std::make_unique<uint32_t[]>(mask_ + 1);
  merges_.resize(merges.size());
  const size_t half = usable_cores() > 1 ? merges.size() / 2 : merges.size();
  std::future<void> rest = std::async(std::launch::async | std::launch::deferred,
                                      [&] { resolve(tokens, kinds, merges.subspan(half), index, merges_.data() + half); });
  resolve(tokens, kinds, merges.first(half), index, merges_.data());
  rest.get();
  for (size_t first = 0; first < merges_.size(); first += kAhead) {
    const size_t last = std::min(first + kAhead, merges_.size());
    for (size_t i = first; i < last; ++i)
      __builtin_prefetch(&slots_[hash_pair(merges_[i].left, merges_[i].right, seed_) & mask_]);
    for (size_t i = first; i < last; ++i) slot_of(merges_[i].left, merges_[i].right) = static_cast<uint32_t>(i + 1);
  }
}

// out: [merges]
void Bpe::resolve(std::span<const std::string_view> tokens, std::span<const int32_t> kinds,
                  std::span<const std::string_view> merges, const TokenIndex& index, Merge* out) {
  const auto normal = [&](uint32_t id) { return id != kNoToken && static_cast<TokenKind>(kinds[id]) == TokenKind::normal; };
  struct Parts {
    std::string_view left, right;
    uint64_t left_hash, right_hash;
  } batch[kAhead];
  std::string whole;
  uint32_t expected = kNoToken;  // in vocabularies as they are trained, each merge makes the id after the one before
  for (size_t first = 0; first < merges.size(); first += kAhead) {
    const std::span<Parts> parts(batch, std::min(kAhead, merges.size() - first));
    for (size_t i = 0; i < parts.size(); ++i) {
      const std::string_view text = merges[first + i];
      const size_t space = text.find(' ');
      if (space == text.npos || text.find(' ', space + 1) != text.npos) fail("merges of two tokens, found " + quoted(text));
      Parts& p = parts[i];
      p.left = text.substr(0, space), p.right = text.substr(space + 1);
      p.left_hash = index.hash(p.left), p.right_hash = index.hash(p.right);
      index.prefetch_slot(p.left_hash), index.prefetch_slot(p.right_hash);
    }
    for (const Parts& p : parts) index.prefetch_token(p.left_hash), index.prefetch_token(p.right_hash);
    for (const Parts& p : parts) index.prefetch_text(p.left_hash), index.prefetch_text(p.right_hash);
    for (size_t i = 0; i < parts.size(); ++i) {
      const Parts& p = parts[i];
      const uint32_t left = index.find(p.left, p.left_hash), right = index.find(p.right, p.right_hash);
      uint32_t result = expected;
      const bool as_expected = result < tokens.size() && tokens[result].size() == p.left.size() + p.right.size() &&
                               tokens[result].starts_with(p.left) && tokens[result].ends_with(p.right);
      if (!as_expected || !normal(result)) {
        whole.assign(p.left).append(p.right);
        result = index.find(whole);
      }
      if (!normal(left) || !normal(right) || !normal(result))
        fail("merges of tokens in the vocabulary, found " + quoted(merges[first + i]));
      expected = result + 1;
      out[first + i] = {left, right, result};
    }
  }
}

std::optional<uint32_t> Bpe::find_added(std::string_view text) const {
  for (const Added& added : added_)
    if (added.text == text) return added.id;
  return std::nullopt;
}

bool Bpe::is_control(uint32_t id) const {
  const auto found =
      std::lower_bound(added_.begin(), added_.end(), id, [](const Added& a, uint32_t wanted) { return a.id < wanted; });
  return found != added_.end() && found->id == id && found->control;
}

uint32_t& Bpe::slot_of(uint32_t left, uint32_t right) const {
  uint64_t at = hash_pair(left, right, seed_) & mask_;
  for (; slots_[at] != 0; at = (at + 1) & mask_) {
    const Merge& merge = merges_[slots_[at] - 1];
    if (merge.left == left && merge.right == right) break;
  }
  return slots_[at];
}

uint32_t Bpe::rank_of(uint32_t left, uint32_t right) const { return slot_of(left, right) - 1; }  // 0 - 1 is kNoToken

void Bpe::encode(std::string_view word, std::vector<uint32_t>& ids) const {
  if (word.size() < 2) {
    if (!word.empty()) ids.push_back(byte_tokens_[static_cast<uint8_t>(word[0])]);
    return;
  }
  const auto count = static_cast<uint32_t>(word.size());
  std::vector<Symbol> symbols(count);
  // rank << 32 | place of the left part: the smallest is the next merge, among equals the leftmost.
  std::vector<uint64_t> queue;
  queue.reserve(count);
  for (uint32_t i = 0; i < count; ++i)
    symbols[i] = {byte_tokens_[static_cast<uint8_t>(word[i])], i - 1, i + 1 < count ? i + 1 : kNone};
  const auto consider = [&](uint32_t left) {
    const uint32_t rank = rank_of(symbols[left].token, symbols[symbols[left].next].token);
    if (rank == kNoToken) return false;
    queue.push_back(uint64_t{rank} << 32 | left);
    return true;
  };
  const auto smallest_first = std::greater<>();
  for (uint32_t i = 0; i + 1 < count; ++i) consider(i);
  std::make_heap(queue.begin(), queue.end(), smallest_first);
  while (!queue.empty()) {
    std::pop_heap(queue.begin(), queue.end(), smallest_first);
    const Merge& merge = merges_[queue.back() >> 32];
    const auto at = static_cast<uint32_t>(queue.back());
    queue.pop_back();
    Symbol& left = symbols[at];
    // One of the two has merged with another meanwhile. What was swallowed keeps kNone as its token.
    if (left.token != merge.left || left.next == kNone || symbols[left.next].token != merge.right) continue;
    Symbol& right = symbols[left.next];
    left.token = merge.result;
    left.next = right.next;
    right.token = kNone;
    if (left.next != kNone) symbols[left.next].previous = at;
    if (left.previous != kNone && consider(left.previous)) std::push_heap(queue.begin(), queue.end(), smallest_first);
    if (left.next != kNone && consider(at)) std::push_heap(queue.begin(), queue.end(), smallest_first);
  }
  for (uint32_t i = 0; i != kNone; i = symbols[i].next) ids.push_back(symbols[i].token);
}

}  // namespace q3e
