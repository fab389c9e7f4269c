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
constexpr uint32_t kShortWord = 128;  // bytes; of longer words the next merge is kept in a heap
constexpr size_t kAhead = 32;         // tokens or merges that are looked up together, so that their waits for memory overlap

// A slot holds all there is to know of a merge, so that a look-up waits for memory once.
constexpr uint32_t kTokenBits = 21, kRankBits = 22;
constexpr size_t kMostTokens = size_t{1} << kTokenBits, kMostMerges = (size_t{1} << kRankBits) - 1;
static_assert(2 * kTokenBits + kRankBits == 64);

uint64_t pair_key(uint32_t left, uint32_t right) { return uint64_t{left} << kTokenBits | right; }

[[noreturn]] void fail(const std::string& text) { throw Error(Status::bad_file, "expected " + text); }

// Checked before anything is stored as 32 bits.
void require_counts(size_t tokens, size_t kinds, size_t merges) {
  if (kinds != tokens)
    fail("one tokenizer.ggml.token_type for each of " + std::to_string(tokens) + " tokens, found " + std::to_string(kinds));
  if (tokens > kMostTokens || merges > kMostMerges)
    fail("at most " + std::to_string(kMostTokens) + " tokens and " + std::to_string(kMostMerges) + " merges, found " +
         std::to_string(tokens) + " and " + std::to_string(merges));
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
  slots_ = std::make_unique<uint64_t[]>(mask_ + 1);
  std::vector<Merge> found(merges.size());
  const size_t half = usable_cores() > 1 ? merges.size() / 2 : merges.size();
  std::future<void> rest = std::async(std::launch::async | std::launch::deferred,
                                      [&] { resolve(tokens, kinds, merges.subspan(half), index, found.data() + half); });
  resolve(tokens, kinds, merges.first(half), index, found.data());
  rest.get();
  results_.reserve(found.size());
  for (size_t first = 0; first < found.size(); first += kAhead) {
    const size_t last = std::min(first + kAhead, found.size());
    for (size_t i = first; i < last; ++i) prefetch(found[i].left, found[i].right);
    for (size_t i = first; i < last; ++i) {
      const Merge& merge = found[i];
      slot_of(merge.left, merge.right) = pair_key(merge.left, merge.right) << kRankBits | (i + 1);
      results_.push_back(merge.result);
    }
  }
  byte_ranks_.reserve(size_t{256} * 256);
  for (const uint32_t left : byte_tokens_)
    for (const uint32_t right : byte_tokens_) byte_ranks_.push_back(rank_of(left, right));
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

void Bpe::prefetch(uint32_t left, uint32_t right) const { __builtin_prefetch(&slots_[hash_pair(left, right, seed_) & mask_]); }

uint64_t& Bpe::slot_of(uint32_t left, uint32_t right) const {
  const uint64_t key = pair_key(left, right);
  uint64_t at = hash_pair(left, right, seed_) & mask_;
  while (slots_[at] != 0 && slots_[at] >> kRankBits != key) at = (at + 1) & mask_;
  return slots_[at];
}

uint32_t Bpe::rank_of(uint32_t left, uint32_t right) const {
  return static_cast<uint32_t>(slot_of(left, right) & kMostMerges) - 1;  // 0 - 1 is kNoToken
}

void Bpe::encode(std::string_view word, std::vector<uint32_t>& ids) const {
  if (word.size() <= kShortWord)
    encode_short(word, ids);
  else
    encode_long(word, ids);
}

void Bpe::encode_short(std::string_view word, std::vector<uint32_t>& ids) const {
  uint32_t tokens[kShortWord];
  uint32_t ranks[kShortWord];  // [count - 1]: of the merge of a token with the next one
  auto count = static_cast<uint32_t>(word.size());
  for (uint32_t i = 0; i < count; ++i) tokens[i] = byte_tokens_[static_cast<uint8_t>(word[i])];
  for (uint32_t i = 0; i + 1 < count; ++i) ranks[i] = byte_rank(word[i], word[i + 1]);
  for (;;) {
    uint32_t next = kNoToken;  // two loops without branches are shorter than one with
    for (uint32_t i = 0; i + 1 < count; ++i) next = std::min(next, ranks[i]);
    if (next == kNoToken) break;
    const auto at = static_cast<uint32_t>(std::find(ranks, ranks + count, next) - ranks);  // among equals the leftmost
    const uint32_t made = tokens[at] = results_[next];
    const bool before = at > 0, behind = at + 2 < count;
    if (before) prefetch(tokens[at - 1], made);
    if (behind) prefetch(made, tokens[at + 2]);
    std::copy(tokens + at + 2, tokens + count, tokens + at + 1);
    std::copy(ranks + at + 1, ranks + count - 1, ranks + at);
    --count;
    if (before) ranks[at - 1] = rank_of(tokens[at - 1], made);
    if (behind) ranks[at] = rank_of(made, tokens[at + 1]);
  }
  ids.insert(ids.end(), tokens, tokens + count);
}

void Bpe::encode_long(std::string_view word, std::vector<uint32_t>& ids) const {
  const auto count = static_cast<uint32_t>(word.size());
  std::vector<Symbol> symbols(count);
  // rank << 32 | place of the left part: the smallest is the next merge, among equals the leftmost.
  std::vector<uint64_t> queue;
  queue.reserve(count);
  for (uint32_t i = 0; i < count; ++i)
    symbols[i] = {byte_tokens_[static_cast<uint8_t>(word[i])], i - 1, i + 1 < count ? i + 1 : kNone};
  const auto add = [&](uint32_t rank, uint32_t left) {
    if (rank == kNoToken) return false;
    queue.push_back(uint64_t{rank} << 32 | left);
    return true;
  };
  const auto consider = [&](uint32_t left) { return add(rank_of(symbols[left].token, symbols[symbols[left].next].token), left); };
  const auto smallest_first = std::greater<>();
  for (uint32_t i = 0; i + 1 < count; ++i) add(byte_rank(word[i], word[i + 1]), i);
  std::make_heap(queue.begin(), queue.end(), smallest_first);
  while (!queue.empty()) {
    std::pop_heap(queue.begin(), queue.end(), smallest_first);
    const auto rank = static_cast<uint32_t>(queue.back() >> 32);
    const auto at = static_cast<uint32_t>(queue.back());
    queue.pop_back();
    Symbol& left = symbols[at];
    // One of the two has merged with another meanwhile, or this one was swallowed.
    if (left.token == kNone || left.next == kNone || rank_of(left.token, symbols[left.next].token) != rank) continue;
    Symbol& right = symbols[left.next];
    left.token = results_[rank];
    left.next = right.next;
    right.token = kNone;
    if (left.next != kNone) symbols[left.next].previous = at;
    if (left.previous != kNone && consider(left.previous)) std::push_heap(queue.begin(), queue.end(), smallest_first);
    if (left.next != kNone && consider(at)) std::push_heap(queue.begin(), queue.end(), smallest_first);
  }
  for (uint32_t i = 0; i != kNone; i = symbols[i].next) ids.push_back(symbols[i].token);
}

}  // namespace q3e
