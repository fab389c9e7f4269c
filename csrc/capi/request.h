// The handle of a request.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "capi/model.h"
#include "prompt/prompt_builder.h"
#include "qwen3edge.h"

struct q3e_request {
  q3e::chat::Conversation conversation;
  std::optional<std::vector<int32_t>> tokens;  // in its place
  std::optional<std::string> text;             // the same
  std::optional<bool> thinking;
  std::optional<uint32_t> thinking_budget;
  std::string thinking_budget_message;
  uint32_t max_tokens = 0, min_tokens = 0;
  q3e_sampling sampling;
  std::optional<uint64_t> seed;
  uint32_t choice = 0;
  std::vector<std::string> stops;
  std::vector<int32_t> stop_tokens;
  bool ignore_end = false;
  std::optional<uint32_t> logprobs, prompt_logprobs;
  bool verbatim = false;
  q3e_tool_choice tool_choice = Q3E_TOOL_CHOICE_AUTO;
  std::optional<std::string> chosen_tool;  // the only one that may be called
  q3e_mask mask = nullptr;
  void* mask_data = nullptr;

  q3e::chat::Prompt prompt(const q3e_model& model) const;
  // Whether calls in the answer are told from its text.
  bool reads_calls() const;
};
