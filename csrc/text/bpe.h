// Byte-level BPE: words in, token ids out, and the bytes of every id. Where words end is not known here.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/model_file.h"

namespace q3e {

class TokenIndex;

// `tokenizer.ggml.token_type`.
enum class TokenKind : int32_t { normal = 1, control = 3, user_defined = 4, unused = 5 };

class Bpe {
 public:
  // A token that no merge makes: its name in a text becomes its id.
  struct Added {
    std::string text;
    uint32_t id;
    bool control;
  };

  // tokens, kinds: [ids], in GPT-2's byte-level alphabet, UTF-8. merges: "left right", the first is applied first; of one that
  // stands twice the last counts. Nothing is kept of the arguments. Throws Error(bad_file) for a vocabulary that contradicts
  // itself.
  Bpe(std::span<const std::string_view> tokens, std::span<const int32_t> kinds, std::span<const std::string_view> merges);

  // Reads the `tokenizer.ggml.*` arrays of docs/format.md. Throws as the constructor, and Error(truncated_file) if the file
  // shrank.
  static Bpe read(const ModelFile& file);

  uint32_t size() const { return static_cast<uint32_t>(starts_.size() - 1); }  // ids up to the largest
  const std::vector<Added>& added() const { return added_; }                   // in the order of their ids

  // The id of an added token by its text, such as `<think>`. In O(added tokens).
  std::optional<uint32_t> find_added(std::string_view text) const;

  // Whether a token steers (`<|im_end|>`) and is never text of an answer; false for an id out of range.
  bool is_control(uint32_t id) const;

  // The bytes of one token; none for an unused id or one out of range.
  std::string_view token_bytes(uint64_t id) const {
    return id < size() ? std::string_view(bytes_).substr(starts_[id], starts_[id + 1] - starts_[id]) : std::string_view();
  }

  // Appends the ids of a word of less than 2^31 bytes, in O(n log n). Any thread may call it at any time.
  void encode(std::string_view word, std::vector<uint32_t>& ids) const;

 private:
  struct Merge {
    uint32_t left, right, result;
  };

  void read_tokens(std::span<const std::string_view> tokens, std::span<const int32_t> kinds, TokenIndex& index);
  void read_merges(std::span<const std::string_view> tokens, std::span<const int32_t> kinds,
                   std::span<const std::string_view> merges, const TokenIndex& index);
  static void resolve(std::span<const std::string_view> tokens, std::span<const int32_t> kinds,
                      std::span<const std::string_view> merges, const TokenIndex& index, Merge* out);
  uint64_t& slot_of(uint32_t left, uint32_t right) const;
  void prefetch(uint32_t left, uint32_t right) const;     // what `rank_of` will read
  uint32_t rank_of(uint32_t left, uint32_t right) const;  // kNoToken if nothing merges them
  uint32_t byte_rank(char left, char right) const {
    return byte_ranks_[size_t{static_cast<uint8_t>(left)} << 8 | static_cast<uint8_t>(right)];
  }
  void encode_short(std::string_view word, std::vector<uint32_t>& ids) const;
  void encode_long(std::string_view word, std::vector<uint32_t>& ids) const;

  std::string bytes_;             // of all tokens
  std::vector<uint32_t> starts_;  // [ids + 1]
  std::vector<Added> added_;
  std::array<uint32_t, 256> byte_tokens_{};
  std::vector<uint32_t> results_;  // by rank
  uint64_t mask_ = 0;
  uint64_t seed_ = 0;
  std::unique_ptr<uint64_t[]> slots_;  // [mask_ + 1]: left, right and rank + 1 of a merge; 0: free
  std::vector<uint32_t> byte_ranks_;   // [256, 256]: of the merge of two bytes' tokens; half of all that is looked up
};

}  // namespace q3e
