#include "prompt/prompt_builder.h"

#include <algorithm>
#include <array>

#include "base/error.h"
#include "prompt/messages.h"
#include "prompt/text_guard.h"
#include "template/failure.h"
#include "template/interpreter.h"

namespace q3e::chat {
namespace {

constexpr std::string_view kThinkOpen = "<think>", kThinkClose = "</think>", kBlanks = " \t\r\n";
constexpr uint32_t kCounted = 8;  // contexts: a text of so many is still read to its end, to say how long it is
constexpr const char *kTemplate = "tokenizer.chat_template", *kTree = "qwen3edge.chat_template.tree";
constexpr const char* kWayOut = ": convert the model again, or give tokens or a text in place of messages";
// As transformers and chat templates name special tokens, and as GGUF does.
constexpr std::pair<const char*, const char*> kNamedTokens[] = {
    {"bos_token", "tokenizer.ggml.bos_token_id"},     {"eos_token", "tokenizer.ggml.eos_token_id"},
    {"unk_token", "tokenizer.ggml.unknown_token_id"}, {"sep_token", "tokenizer.ggml.seperator_token_id"},
    {"pad_token", "tokenizer.ggml.padding_token_id"}, {"cls_token", "tokenizer.ggml.cls_token_id"},
    {"mask_token", "tokenizer.ggml.mask_token_id"},
};
constexpr const char* kAddBos = "tokenizer.ggml.add_bos_token";
constexpr std::string_view kEndOfText = "<|endoftext|>";  // whose state is a text's embedding
constexpr std::array<std::string_view, 4> kReserved = {"messages", "tools", "add_generation_prompt", "enable_thinking"};

[[noreturn]] void too_long(uint32_t context, const std::string& found) {
  throw Error(Status::bad_argument, "expected a prompt of fewer than " + std::to_string(context) +
                                        " tokens (the context), found " + found +
                                        ": load the model with a larger context, or leave out the oldest messages");
}

void require_within(size_t tokens, uint32_t context) {
  if (tokens >= context) too_long(context, std::to_string(tokens));
}

// Of what the tokenizer gives, which was asked for at most so many.
std::vector<int32_t> within(bool whole, const std::vector<uint32_t>& ids, uint32_t context) {
  if (!whole) too_long(context, "more than " + std::to_string(kCounted * context));
  require_within(ids.size(), context);
  return {ids.begin(), ids.end()};
}

// A text of the template's may hold a guarded one.
std::string without_marks(std::string text) {
  for (size_t at = 0; (at = text.find(Tokenizer::kPlainMark, at)) != text.npos;) text.erase(at, Tokenizer::kPlainMark.size());
  return text;
}

}  // namespace

PromptBuilder::PromptBuilder(const ModelFile& file) : tokenizer_(Tokenizer::read(file)) {
  const Bpe& bpe = *tokenizer_->bpe();
  think_open_ = bpe.find_added(kThinkOpen);
  think_close_ = bpe.find_added(kThinkClose);
  for (const auto& [name, key] : kNamedTokens)
    if (file.find_key(key)) named_tokens_.emplace_back(name, tokenizer_->decode(std::array{file.u32(key)}, false));
  if (file.find_key(kAddBos) && file.boolean(kAddBos) && file.find_key(kNamedTokens[0].second))
    text_prefix_.push_back(static_cast<int32_t>(file.u32(kNamedTokens[0].second)));
  read_template(file);
}

void PromptBuilder::read_template(const ModelFile& file) {
  if (!file.find_key(kTemplate)) {
    why_none_ = file.path() + ": expected a chat template, found none" + kWayOut;
    return;
  }
  const std::string_view source = file.string(kTemplate);
  switches_thinking_ = source.find("enable_thinking") != source.npos;
  calls_in_xml_ = source.find("<function=") != source.npos;
  // One that knows "system" and not "developer".
  if (source.find("developer") == source.npos && source.find("system") != source.npos) developer_ = "system";
  if (!file.find_key(kTree)) {
    why_none_ = file.path() + ": expected the chat template's syntax tree, found a template that jinja2 alone runs" + kWayOut;
    return;
  }
  const MetadataEntry& tree = file.array(kTree, ValueType::u8);
  try {
    template_ = std::make_unique<Tree>(std::span(tree.data, tree.nbytes), source);
  } catch (const Error& e) {
    if (e.status() != Status::unsupported_model) throw;
    why_none_ = file.path() + ": " + e.what() + kWayOut;
  }
  file.require_undamaged();
}

Prompt PromptBuilder::of_conversation(const Conversation& conversation, std::optional<bool> thinking, uint32_t context) const {
  if (!template_) throw Error(Status::unsupported_model, why_none_);
  std::vector<uint32_t> ids;
  const bool whole = tokenizer_->encode_prompt(rendered(conversation, thinking, context), uint64_t{kCounted} * context, ids);
  return finished(within(whole, ids, context), thinking, true);
}

Prompt PromptBuilder::of_text(std::string_view text, std::optional<bool> thinking, uint32_t context) const {
  TextGuard(*tokenizer_, context).count(text.size());
  std::vector<uint32_t> ids;
  const bool whole = tokenizer_->encode(text, true, uint64_t{kCounted} * context, ids);
  return finished(within(whole, ids, context), thinking, false);
}

Prompt PromptBuilder::of_tokens(std::vector<int32_t> tokens, std::optional<bool> thinking, uint32_t context) const {
  require_within(tokens.size(), context);
  return finished(std::move(tokens), thinking, false);
}

std::string PromptBuilder::rendered(const Conversation& conversation, std::optional<bool> thinking, uint32_t context) const {
  TextGuard guard(*tokenizer_, context);
  Interpreter::Variables variables;
  for (const auto& [name, text] : named_tokens_) variables.emplace_back(name, Value::text(text));
  variables.emplace_back("documents", Value::none());
  const Value& own = conversation.variables;
  if (!own.is(Kind::absent) && !own.is(Kind::dict))
    throw Error(Status::bad_argument, "variables: expected a JSON object, found another value");
  if (own.is(Kind::dict)) {
    for (const auto& [name, value] : own.dict().items()) {
      if (std::find(kReserved.begin(), kReserved.end(), name.str()) != kReserved.end())
        throw Error(Status::bad_argument, "variables: expected others than " + name.str() + ", which is set by itself");
      variables.emplace_back(name.str(), guarded_json(value, guard));
    }
  }
  variables.emplace_back("messages", normal_messages(conversation.messages, guard, developer_));
  variables.emplace_back("tools", normal_tools(conversation.tools, guard));
  variables.emplace_back("add_generation_prompt", Value(true));
  if (thinking) variables.emplace_back("enable_thinking", Value(*thinking));
  try {
    return Interpreter(*template_, variables, 2 * most_text_bytes(context)).run();
  } catch (const Failure& failure) {
    throw Error(failure.status(), without_marks(failure.what()));
  }
}

Prompt PromptBuilder::finished(std::vector<int32_t> tokens, std::optional<bool> thinking, bool templated) const {
  const std::optional<bool> open = open_thought(tokens);
  const bool able = !templated || switches_thinking_;
  if (thinking == true && !able && open != true)
    throw Error(Status::bad_argument, "thinking: expected off or the template's choice: this model does not think");
  if (templated && thinking == false && open == true)
    throw Error(Status::bad_argument, "thinking: expected on or the template's choice: this model always thinks");
  const bool expected = open ? *open : able && thinking != false && (templated || thinking == true);
  return {std::move(tokens), expected, open == true};
}

// Whether the assistant's turn at the end stands inside `<think>`; none if there is no tag in it. Of a tag that is no token, the
// text behind the last token of the other's is read.
std::optional<bool> PromptBuilder::open_thought(std::span<const int32_t> tokens) const {
  std::optional<bool> found;
  size_t begin = tokens.size();
  bool in_turn = false;
  while (begin > 0 && !in_turn) {
    const auto id = static_cast<uint32_t>(tokens[begin - 1]);
    if (id == think_open_ || id == think_close_) found = id == think_open_;
    in_turn = found || tokenizer_->bpe()->is_control(id);
    begin -= !in_turn;
  }
  if (think_open_ && think_close_) return found;
  const std::vector<uint32_t> behind(tokens.begin() + static_cast<std::ptrdiff_t>(begin), tokens.end());
  const std::string text = tokenizer_->decode(behind, false);
  const size_t end = text.find_last_not_of(kBlanks) + 1;  // npos + 1 is 0
  size_t place = 0;
  for (const std::string_view tag : {kThinkOpen, kThinkClose}) {
    if (tag == kThinkOpen ? think_open_.has_value() : think_close_.has_value()) continue;
    const size_t at = text.rfind(tag);
    if (at == text.npos || at + tag.size() < place) continue;
    if (!in_turn && at + tag.size() != end) continue;  // it may be what a user says
    place = at + tag.size();
    found = tag == kThinkOpen;
  }
  return found;
}

std::vector<int32_t> PromptBuilder::embedding_tokens(std::string_view text, const char* instruction, uint32_t context) const {
  const std::optional<uint32_t> end = tokenizer_->bpe()->find_added(kEndOfText);
  if (!end)
    throw Error(Status::unsupported_model, "embeddings: expected " + std::string(kEndOfText) + " in the vocabulary, found none");
  if (text.ends_with(kEndOfText)) text.remove_suffix(kEndOfText.size());
  const std::string asked =
      instruction ? "Instruct: " + std::string(instruction) + "\nQuery:" + std::string(text) : std::string(text);
  TextGuard(*tokenizer_, context).count(asked.size());
  std::vector<uint32_t> ids(text_prefix_.begin(), text_prefix_.end());
  const bool whole = tokenizer_->encode(asked, false, uint64_t{kCounted} * context, ids);
  std::vector<int32_t> tokens = within(whole, ids, context);  // and room for one more
  tokens.push_back(static_cast<int32_t>(*end));
  return tokens;
}

std::vector<int32_t> PromptBuilder::end_of_thoughts(std::string_view message) const {
  std::vector<uint32_t> ids;
  tokenizer_->encode(message, false, Tokenizer::kNoLimit, ids);
  if (think_close_)
    ids.push_back(*think_close_);
  else
    tokenizer_->encode(kThinkClose, false, Tokenizer::kNoLimit, ids);
  return {ids.begin(), ids.end()};
}

}  // namespace q3e::chat
