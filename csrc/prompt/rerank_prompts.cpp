#include "prompt/rerank_prompts.h"

#include "base/error.h"
#include "prompt/text_guard.h"

namespace q3e::chat {
namespace {

constexpr std::string_view kPrefix =
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct provided. Note "
    "that "
    "the answer can only be \"yes\" or \"no\".<|im_end|>\n<|im_start|>user\n";
constexpr std::string_view kSuffix = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n";

}  // namespace

RerankPrompts::RerankPrompts(const Tokenizer& tokenizer, std::string_view query, std::string_view instruction, uint32_t context)
    : tokenizer_(tokenizer),
      context_(context),
      asked_("<Instruct>: " + std::string(instruction) + "\n<Query>: " + std::string(query) + "\n<Document>: "),
      yes_(word("yes")),
      no_(word("no")) {
  tokenizer.encode(kPrefix, true, Tokenizer::kNoLimit, prefix_);
  tokenizer.encode(kSuffix, true, Tokenizer::kNoLimit, suffix_);
  tokens("");
}

uint32_t RerankPrompts::word(std::string_view text) const {
  std::vector<uint32_t> ids;
  tokenizer_.encode(text, false, Tokenizer::kNoLimit, ids);
  if (ids.size() != 1)
    throw Error(Status::unsupported_model, "rerank: expected 'yes' and 'no' as tokens of the vocabulary, found several for one");
  return ids[0];
}

std::vector<int32_t> RerankPrompts::tokens(std::string_view document) const {
  const std::string asked = asked_ + std::string(document);
  TextGuard(tokenizer_, context_).count(asked.size());
  std::vector<uint32_t> ids = prefix_;
  const bool whole = tokenizer_.encode(asked, false, context_, ids);
  ids.insert(ids.end(), suffix_.begin(), suffix_.end());
  if (!whole || ids.size() > context_)
    throw Error(Status::bad_argument,
                "rerank: expected at most " + std::to_string(context_) +
                    " tokens of instruction, query and document with what stands around them (the context), "
                    "found more: load the model with a larger context, or split the document");
  return {ids.begin(), ids.end()};
}

}  // namespace q3e::chat
