// How a text is cut into the words that BPE works on: by hand what the patterns in qwen3edge/tokenization.py say.
#pragma once

#include <optional>
#include <string_view>

namespace q3e {

class WordSplitter {
 public:
  // name: GGUF's (`tokenizer.ggml.pre`); none: an unknown one.
  static std::optional<WordSplitter> find(std::string_view name);

  // Of all splitters, for messages.
  static constexpr std::string_view kNames = "'qwen2', 'deepseek-r1-qwen', 'qwen35'";

  // Whether it splits the normal form C of a text.
  bool normalizes() const { return normalizes_; }

  // The word at the beginning of a text: none is empty, and in their order they are the text. text: not empty, UTF-8. Words
  // together take time in proportion to the text.
  std::string_view first_word(std::string_view text) const;

 private:
  WordSplitter(bool marks_join, bool normalizes) : marks_join_(marks_join), normalizes_(normalizes) {}

  bool marks_join_;  // belong to the word of their letters
  bool normalizes_;
};

}  // namespace q3e
