// What texts from outside go through before a template sees them: sizes are counted, tokens' names become text.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "text/tokenizer.h"

namespace q3e::chat {

// How large the texts of a request may be, and what they take of the memory; the same as in qwen3edge/text/text_size.py.
constexpr uint64_t most_text_bytes(uint32_t context) { return 64 * 1024 + uint64_t{32} * context; }
constexpr uint64_t text_working_bytes(uint32_t context) { return 6 * most_text_bytes(context); }

// For one request.
class TextGuard {
 public:
  // tags_as_text: names of tags such as `<think>` in what users, systems and tools say are text, as those of control tokens are.
  TextGuard(const Tokenizer& tokenizer, uint32_t context, bool tags_as_text = true);

  // Each throws Error(bad_argument) when there is more than a context holds.
  std::string text(std::string_view text);    // what a user, a system or a tool says
  std::string answer(std::string_view text);  // what an assistant said: templates split it at its tags
  void item();                                // a message, or a value inside one
  void count(uint64_t nbytes);

 private:
  std::string guarded(std::string_view text, bool tags);

  const Tokenizer& tokenizer_;
  const uint32_t context_;
  const bool tags_as_text_;
  uint64_t left_;
};

}  // namespace q3e::chat
