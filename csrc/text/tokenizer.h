// Text to token ids and back, with the vocabulary that a file carries.
//
// Tokens' names in text: `encode` reads a text as plain text unless names are allowed, so a user who writes `<|im_end|>` writes
// ten harmless characters. Rendered chat templates go through `encode_prompt`, which takes the names in them for those tokens;
// what came from the messages was marked by `protect` beforehand, so that the names inside it stay plain.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/model_file.h"
#include "text/bpe.h"
#include "text/token_names.h"
#include "text/word_splitter.h"

namespace q3e {

class Tokenizer {
 public:
  // Longer texts are refused: no context holds them.
  static constexpr size_t kMostCharacters = 16 * 1024 * 1024;

  // Throws Error(bad_argument) for more.
  static void require_length(size_t characters);

  // The mark that `protect` puts into a text: the bytes of a surrogate, which no UTF-8 has.
  static constexpr std::string_view kPlainMark = "\xed\xa0\x80";
  static constexpr uint32_t kPlainMarkCode = 0xd800;

  // model, pre: `tokenizer.ggml.model` and `tokenizer.ggml.pre`. Throws Error(unsupported_model) for other ones than Qwen's.
  static WordSplitter splitter_of(std::string_view model, std::string_view pre);

  Tokenizer(WordSplitter splitter, std::shared_ptr<const Bpe> bpe);

  // Reads the `tokenizer.ggml.*` keys of docs/format.md, and keeps nothing of the file. Throws as `splitter_of` and `Bpe::read`.
  static std::unique_ptr<Tokenizer> read(const ModelFile& file);

  const std::shared_ptr<const Bpe>& bpe() const { return bpe_; }

  // The ids of control tokens and tags, which are not text, ascending.
  std::vector<uint32_t> marks() const { return names_.ids(kMarkNames); }

  static constexpr uint64_t kNoLimit = std::numeric_limits<uint64_t>::max();

  // Appends the ids of a text. text: what is no UTF-8 counts as U+FFFD. special: the names of control tokens and tags become
  // those tokens; otherwise they are plain text. most: ids; false as soon as there are more. Throws Error(bad_argument) for more
  // than kMostCharacters, or one word of more than TextChunks::kMostWordCharacters. Any thread may call it at any time.
  bool encode(std::string_view text, bool special, uint64_t most, std::vector<uint32_t>& ids) const;

  // The same for a rendered template, whose parts from outside went through `protect`.
  bool encode_prompt(std::string_view prompt, uint64_t most, std::vector<uint32_t>& ids) const;

  // A text from outside with marks in the names of tokens, so that `encode_prompt` takes them as plain text; none: it needs no
  // mark. tags: in those of tags such as `<think>` as well as of control tokens. text: UTF-8.
  std::optional<std::string> protect(std::string_view text, bool tags) const;

  // The text of tokens; bytes that are no UTF-8 as U+FFFD. Ids without a token are no text. skip_control leaves out `<|im_end|>`
  // and its like.
  std::string decode(std::span<const uint32_t> ids, bool skip_control) const;

  // The words of a text: UTF-8.
  std::vector<std::string> words(std::string_view text) const;

 private:
  struct Output {
    std::vector<uint32_t>& ids;
    size_t before;
    uint64_t most;
    bool full() const { return ids.size() - before > most; }
  };
  bool encode_names(std::string_view text, NameKinds kinds, bool marked, const Output& out) const;
  void encode_plain(std::string_view part, bool marked, const Output& out) const;

  WordSplitter splitter_;
  std::shared_ptr<const Bpe> bpe_;
  TokenNames names_;
};

}  // namespace q3e
