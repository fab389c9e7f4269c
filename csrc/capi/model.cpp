#include "capi/model.h"

#include <algorithm>
#include <string>
#include <utility>

#include "capi/caller_memory.h"
#include "capi/guard.h"
#include "io/nameless_file.h"
#include "models/architectures.h"
#include "prompt/text_guard.h"
#include "runtime/sampling_defaults.h"

using q3e::ModelFile;
using q3e::capi::give;
using q3e::capi::guarded;
using q3e::capi::require;

namespace {

constexpr const char* kTokens = "tokenizer.ggml.tokens";
constexpr uint32_t kDraftTokens = 8;  // with a draft model, if it is not said

bool has_tokens(const ModelFile& file) {
  const q3e::MetadataEntry* tokens = file.find_key(kTokens);
  return tokens && tokens->is_array && tokens->count > 0;
}

std::unique_ptr<const q3e::chat::PromptBuilder> texts_of(const ModelFile& file, const q3e_settings& settings) {
  if (!settings.texts || !has_tokens(file)) return nullptr;
  auto texts = std::make_unique<const q3e::chat::PromptBuilder>(file);
  const uint32_t rows = file.u32("qwen3edge.vocab_size"), tokens = texts->tokenizer().bpe()->size();
  if (tokens > rows)
    file.fail(q3e::Status::bad_file,
              "expected at most " + std::to_string(rows) + " tokens in " + kTokens + ", found " + std::to_string(tokens));
  return texts;
}

// The tokenizer is there already, and counts as what the process holds. Without what a draft model takes.
q3e::PlanRequest request_of(const q3e_settings& settings, const ModelFile& file, bool texts) {
  q3e::PlanRequest request = settings.plan;
  if (request.context == 0) request.context = std::min(4096u, file.u32("qwen3edge.context_length"));
  request.draft_tokens = settings.draft_tokens.value_or(settings.draft.empty() ? 0 : kDraftTokens);
  require(settings.draft.empty() || request.draft_tokens > 0, "draft_tokens: expected at least 1 with a draft model, found 0");
  if (texts) request.later = q3e::chat::text_working_bytes(request.context);
  return request;
}

std::shared_ptr<const ModelFile> draft_file_of(const q3e_settings& settings) {
  return settings.draft.empty() ? nullptr : std::make_shared<const ModelFile>(settings.draft);
}

std::optional<q3e::DraftPlan> draft_of(const ModelFile* draft, const ModelFile& file, const q3e::PlanRequest& request) {
  return draft ? std::optional(q3e::plan_draft(*draft, q3e::read_model(*draft), file, request)) : std::nullopt;
}

q3e::PlanRequest beside(const std::optional<q3e::DraftPlan>& draft, q3e::PlanRequest request) {
  if (draft) request.later += draft->bytes;
  return request;
}

q3e_settings chosen(const q3e_settings* settings) { return settings ? *settings : q3e_settings(); }

std::string path_of(int descriptor) { return "/proc/self/fd/" + std::to_string(descriptor); }

std::unique_ptr<q3e_model> loaded(const std::string& path, const q3e_settings& asked) {
  const auto file = std::make_shared<const ModelFile>(path);
  const auto draft = draft_file_of(asked);
  if (asked.verify) file->verify([&](uint64_t done, uint64_t all) { asked.tell(done, all); });
  if (asked.verify && draft) draft->verify();
  auto model = std::make_unique<q3e_model>(file, draft, asked);
  file->release_header();
  if (draft) draft->release_header();
  return model;
}

}  // namespace

q3e_model::q3e_model(std::shared_ptr<const ModelFile> f, std::shared_ptr<const ModelFile> drafts, const q3e_settings& settings)
    : file(f),
      texts(texts_of(*f, settings)),
      has_tokenizer(has_tokens(*f)),
      request(request_of(settings, *f, texts != nullptr)),
      draft_plan(draft_of(drafts.get(), *f, request)),
      engine(new q3e::Engine(f, beside(draft_plan, request), q3e::best_isa())),
      draft(drafts ? new q3e::Engine(drafts, draft_plan->request, q3e::best_isa()) : nullptr),
      scheduler(*engine, draft.get()),
      stop_tokens(f->u32_array("qwen3edge.stop_token_ids")) {}

uint32_t q3e_model::usable_tokens() const {
  if (!has_tokenizer) return vocabulary();
  const uint64_t tokens = file->find_key(kTokens)->count;
  return static_cast<uint32_t>(std::min<uint64_t>(tokens, vocabulary()));
}

bool q3e_model::is_stop_token(int32_t token) const {
  return std::find(stop_tokens.begin(), stop_tokens.end(), static_cast<uint32_t>(token)) != stop_tokens.end();
}

const q3e::chat::PromptBuilder& q3e_model::require_texts() const {
  if (texts) return *texts;
  throw q3e::Error(q3e::Status::unsupported_model,
                   has_tokenizer ? "expected token ids, found text: the model was loaded with q3e_settings_set_texts(settings, 0)"
                                 : "expected a tokenizer in the model file, found none: give token ids");
}

q3e_status q3e_plan(const char* path, const q3e_settings* settings, q3e_memory_plan* plan, size_t size) {
  return guarded([&] {
    require(path && plan, "plan: expected a path and a place for the plan, found a null pointer");
    const q3e_settings asked = chosen(settings);
    const ModelFile file(path);
    const auto texts = texts_of(file, asked);
    const q3e::PlanRequest request = request_of(asked, file, texts != nullptr);
    const auto draft_file = draft_file_of(asked);
    const auto draft = draft_of(draft_file.get(), file, request);
    const q3e::MemoryPlan p = q3e::make_plan(file, q3e::read_model(file), beside(draft, request));
    const uint64_t of_draft = draft ? draft->bytes : 0;
    give(q3e_memory_plan{p.weights, p.buffers, p.kv_cache, p.scratch, p.program - of_draft, p.peak, p.budget, p.streamed,
                         of_draft},
         plan, size);
  });
}

q3e_status q3e_load(const char* path, const q3e_settings* settings, q3e_model** model) {
  return guarded([&] {
    require(path && model, "load: expected a path and a place for the model, found a null pointer");
    *model = nullptr;
    *model = loaded(path, chosen(settings)).release();
  });
}

q3e_status q3e_load_descriptor(int descriptor, const q3e_settings* settings, q3e_model** model) {
  return guarded([&] {
    require(descriptor >= 0 && model, "load: expected a descriptor and a place for the model, found none");
    *model = nullptr;
    *model = loaded(path_of(descriptor), chosen(settings)).release();
  });
}

q3e_status q3e_load_memory(const void* bytes, size_t size, const q3e_settings* settings, q3e_model** model) {
  return guarded([&] {
    require(bytes && size > 0 && model, "load: expected a file's bytes and a place for the model, found none");
    *model = nullptr;
    const q3e_settings asked = chosen(settings);
    const q3e::NamelessFile file("qwen3edge");
    q3e::ModelFile::Told told;
    if (!asked.verify) told = [&](uint64_t done, uint64_t all) { asked.tell(done, all); };
    file.write({static_cast<const uint8_t*>(bytes), size}, told);
    *model = loaded(path_of(file.descriptor()), asked).release();
  });
}

void q3e_model_free(q3e_model* model) { delete model; }

uint32_t q3e_vocabulary(const q3e_model* model) { return model ? model->vocabulary() : 0; }

uint32_t q3e_context(const q3e_model* model) { return model ? model->context() : 0; }

int q3e_is_stop_token(const q3e_model* model, int32_t token) { return model && model->is_stop_token(token); }

q3e_status q3e_model_sampling(const q3e_model* model, int thinking, q3e_sampling_values* values, size_t size) {
  return guarded([&] {
    require(model && values, "model_sampling: expected a model and a place for its sampling, found a null pointer");
    const q3e::SamplingParameters p = q3e::stored_sampling(*model->file, thinking != 0);
    give(q3e_sampling_values{p.repetition_penalty, p.frequency_penalty, p.presence_penalty, p.temperature, p.top_k, p.top_p,
                             p.min_p},
         values, size);
  });
}
