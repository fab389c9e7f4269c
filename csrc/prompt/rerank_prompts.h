// The questions that Qwen3-Reranker was trained on: whether a document answers a query, yes or no.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer.h"

namespace q3e::chat {

// Of one query.
class RerankPrompts {
 public:
  // context: tokens of a prompt, at most. tokenizer: outlives it. Throws Error: bad_argument for a query or an instruction that
  // leaves no room for any document; unsupported_model for a vocabulary in which yes or no are several tokens.
  RerankPrompts(const Tokenizer& tokenizer, std::string_view query, std::string_view instruction, uint32_t context);

  // For a document. Throws Error(bad_argument) for one that does not fit.
  std::vector<int32_t> tokens(std::string_view document) const;

  // The tokens that answer.
  uint32_t yes() const { return yes_; }
  uint32_t no() const { return no_; }

 private:
  uint32_t word(std::string_view text) const;

  const Tokenizer& tokenizer_;
  const uint32_t context_;
  const std::string asked_;  // in front of a document
  std::vector<uint32_t> prefix_, suffix_;
  const uint32_t yes_, no_;
};

}  // namespace q3e::chat
