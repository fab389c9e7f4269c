// Texts whose last token stands for the whole: embeddings, and scores of documents.
#include <algorithm>
#include <chrono>
#include <deque>
#include <exception>
#include <utility>
#include <vector>

#include "capi/guard.h"
#include "capi/model.h"
#include "prompt/rerank_prompts.h"
#include "runtime/embedding.h"
#include "runtime/generation.h"

using q3e::capi::guarded;
using q3e::capi::require;

namespace {

constexpr std::chrono::milliseconds kPatience{50};
constexpr const char* kRerankInstruction = "Given a web search query, retrieve relevant passages that answer the query";

q3e::Scheduler::Held submitted(q3e_model& model, std::vector<int32_t> prompt) {
  q3e::GenerationRequest request;
  request.prompt = std::move(prompt);
  request.state = true;
  return model.scheduler.submit(std::move(request));
}

// The state behind the prompt's last token.
std::vector<float> state_of(q3e_model& model, q3e::Generation& generation) {
  for (;;) {
    q3e::News news;
    if (!model.scheduler.next(generation, news, kPatience)) continue;
    if (news.error) std::rethrow_exception(news.error);
    require(news.finish != q3e::Finish::cancelled, "expected an open model, found one that was closed meanwhile");
    if (news.finish != q3e::Finish::running) return std::move(news.state);
  }
}

// Prompts that wait or run; those that are left end with it.
class Asked {
 public:
  explicit Asked(q3e_model& model) : model_(model) {}
  ~Asked() {
    guarded([&] {
      for (const auto& each : asked_) model_.scheduler.cancel(*each);
    });
  }
  void add(std::vector<int32_t> prompt) { asked_.push_back(submitted(model_, std::move(prompt))); }
  size_t size() const { return asked_.size(); }
  std::vector<float> take() {  // of the first one
    std::vector<float> state = state_of(model_, *asked_.front());
    asked_.pop_front();
    return state;
  }

 private:
  q3e_model& model_;
  std::deque<q3e::Scheduler::Held> asked_;
};

}  // namespace

q3e_status q3e_embed(q3e_model* model, const char* text, const char* instruction, float* values, size_t capacity, size_t* count) {
  return guarded([&] {
    require(model && text && count, "embed: expected a model, a text and a place for the count, found a null pointer");
    const size_t size = model->engine->config().hidden_size;
    if (values && capacity > 0) {
      Asked asked(*model);
      asked.add(model->require_texts().embedding_tokens(text, instruction, model->context()));
      const std::vector<double> found = q3e::normalized(asked.take(), capacity);
      std::transform(found.begin(), found.end(), values, [](double value) { return static_cast<float>(value); });
    }
    *count = size;
  });
}

q3e_status q3e_rerank(q3e_model* model, const char* query, const char* const* documents, size_t count, const char* instruction,
                      float* scores) {
  return guarded([&] {
    require(model && query && (count == 0 || (documents && scores)) && std::count(documents, documents + count, nullptr) == 0,
            "rerank: expected a model, a query, documents and a place for their scores, found a null pointer");
    const q3e::chat::RerankPrompts prompts(model->require_texts().tokenizer(), query,
                                           instruction ? instruction : kRerankInstruction, model->context());
    const std::vector<float> yes = model->engine->head_row(prompts.yes()), no = model->engine->head_row(prompts.no());
    const size_t at_once = 2 * size_t{model->engine->plan().settings.sequences};
    Asked asked(*model);
    for (size_t done = 0, added = 0; done < count; ++done) {
      while (added < count && asked.size() < at_once) asked.add(prompts.tokens(documents[added++]));
      scores[done] = static_cast<float>(q3e::likelihood(asked.take(), yes, no));
    }
  });
}
