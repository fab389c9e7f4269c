// The handle of a model: file, texts, engine, and the scheduler that all its answers and sessions share.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <vector>

#include "capi/settings.h"
#include "prompt/prompt_builder.h"
#include "runtime/draft_plan.h"
#include "runtime/engine.h"
#include "runtime/scheduler.h"

struct q3e_model {
  const std::shared_ptr<const q3e::ModelFile> file;
  const std::unique_ptr<const q3e::chat::PromptBuilder> texts;  // null: token ids alone
  const bool has_tokenizer;
  const q3e::PlanRequest request;
  const std::optional<q3e::DraftPlan> draft_plan;
  const std::unique_ptr<q3e::Engine, q3e::Engine::Delete> engine, draft;  // draft: null: none
  q3e::Scheduler scheduler;
  const std::vector<uint32_t> stop_tokens;
  std::atomic<uint32_t> sessions{0};
  std::atomic<uint64_t> prompt_tokens{0}, cached_tokens{0}, answer_tokens{0};  // of answers that ended

  // draft_file: null: none.
  q3e_model(std::shared_ptr<const q3e::ModelFile> model_file, std::shared_ptr<const q3e::ModelFile> draft_file,
            const q3e_settings& settings);

  uint32_t vocabulary() const { return engine->config().vocab_size; }
  uint32_t context() const { return engine->plan().settings.context; }
  // The rows that tokens have; a model without a tokenizer may pick any.
  uint32_t usable_tokens() const;
  bool is_stop_token(int32_t token) const;
  // Throws Error(unsupported_model) where texts are neither read nor written.
  const q3e::chat::PromptBuilder& require_texts() const;
};
