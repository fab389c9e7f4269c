// What a request becomes before it reaches the model: token ids, and what is known about thinking.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "io/model_file.h"
#include "template/tree.h"
#include "template/value.h"
#include "text/tokenizer.h"

namespace q3e::chat {

// thinking: the answer is expected to think. reasoning: the prompt has opened `<think>` already.
struct Prompt {
  std::vector<int32_t> tokens;
  bool thinking = false, reasoning = false;
};

// messages, tools, variables: JSON values; absent for none.
struct Conversation {
  std::vector<Value> messages;
  Value tools, variables;
};

// With a model's tokenizer and chat template. Any thread may use it at any time.
class PromptBuilder {
 public:
  // Keeps nothing of the file. A template without a syntax tree, or with one of another version, is missed only by those who need
  // it. Throws as Tokenizer::read and chat::Tree; Error(bad_file).
  explicit PromptBuilder(const ModelFile& file);

  const Tokenizer& tokenizer() const { return *tokenizer_; }
  // Whether the template shows the model tool calls as Qwen3-Coder's does.
  bool calls_in_xml() const { return calls_in_xml_; }

  // Each throws Error(bad_argument) for what `context` tokens do not hold with an answer, and for a way of thinking that the
  // model lacks. thinking: none leaves the choice to the template.

  // Throws Error(bad_argument) for messages of a wrong form; template_error if the template refuses them or leaves its bounds;
  // unsupported_model where this file has no template that runs here.
  Prompt of_conversation(const Conversation& conversation, std::optional<bool> thinking, uint32_t context) const;
  // A text that the model continues, in which names of tokens are those tokens.
  Prompt of_text(std::string_view text, std::optional<bool> thinking, uint32_t context) const;
  Prompt of_tokens(std::vector<int32_t> tokens, std::optional<bool> thinking, uint32_t context) const;

  // A document, or with an instruction (null: none) a query, and the token whose state is its embedding. Throws
  // Error(unsupported_model) without that token.
  std::vector<int32_t> embedding_tokens(std::string_view text, const char* instruction, uint32_t context) const;

  // The ids that end thoughts after a last message; several where `</think>` is no token.
  std::vector<int32_t> end_of_thoughts(std::string_view message) const;

 private:
  void read_template(const ModelFile& file);
  std::string rendered(const Conversation& conversation, std::optional<bool> thinking, uint32_t context) const;
  Prompt finished(std::vector<int32_t> tokens, std::optional<bool> thinking, bool templated) const;
  std::optional<bool> open_thought(std::span<const int32_t> tokens) const;

  std::unique_ptr<Tokenizer> tokenizer_;
  std::optional<uint32_t> think_open_, think_close_;
  std::vector<std::pair<std::string, std::string>> named_tokens_;  // such as `bos_token`, with their texts
  std::vector<int32_t> text_prefix_;                               // before every text that is no chat, mostly none
  std::unique_ptr<Tree> template_;                                 // null:
  std::string why_none_;                                           // what was expected and found
  bool switches_thinking_ = false;                                 // whether callers choose (`enable_thinking`)
  bool calls_in_xml_ = false;
  std::string_view developer_ = "developer";  // what that role becomes
};

}  // namespace q3e::chat
