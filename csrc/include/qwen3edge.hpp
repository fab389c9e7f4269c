// qwen3edge.h for C++20: handles that free themselves, spans, and exceptions in place of statuses. What is said there holds here.
//
// All classes can be moved; a moved-from one can be assigned to or destroyed. Answers and sessions keep their model.
#ifndef QWEN3EDGE_HPP
#define QWEN3EDGE_HPP

#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qwen3edge.h"

namespace qwen3edge {

class Error : public std::runtime_error {
 public:
  Error(q3e_status status, const char* text) : std::runtime_error(text), status_(status) {}
  q3e_status status() const noexcept { return status_; }

 private:
  q3e_status status_;
};

namespace detail {

inline void check(q3e_status status) {
  if (status != Q3E_OK) throw Error(status, q3e_error_text());
}

template <auto free>
struct Free {
  template <class T>
  void operator()(T* handle) const noexcept {
    free(handle);
  }
};

template <class T, auto free>
using Handle = std::unique_ptr<T, Free<free>>;

// made<q3e_request>(q3e_request_new, ...)
template <class T, class New, class... Arguments>
T* made(New make, Arguments... arguments) {
  T* handle = nullptr;
  check(make(arguments..., &handle));
  return handle;
}

// What a function gives that is asked twice: how many, then all.
template <class T, class F>
T all(F&& ask) {
  size_t count = 0;
  T items;
  check(ask(nullptr, 0, &count));
  items.resize(count);
  check(ask(items.data(), count, &count));
  return items;
}

}  // namespace detail

class Settings {
 public:
  Settings() : handle_(detail::made<q3e_settings>(q3e_settings_new)) {}

  Settings& context(uint32_t value) { return set(q3e_settings_set_context, value); }
  Settings& sessions(uint32_t value) { return set(q3e_settings_set_sessions, value); }
  Settings& threads(uint32_t value) { return set(q3e_settings_set_threads, value); }
  Settings& kv(q3e_kv value) { return set(q3e_settings_set_kv, value); }
  Settings& memory(uint64_t bytes) { return set(q3e_settings_set_memory, bytes); }
  Settings& texts(bool value) { return set(q3e_settings_set_texts, value); }
  Settings& min_expert_share(float value) { return set(q3e_settings_set_min_expert_share, value); }
  Settings& without_io_uring(bool value) { return set(q3e_settings_set_without_io_uring, value); }
  Settings& verify(bool value) { return set(q3e_settings_set_verify, value); }
  Settings& draft_tokens(uint32_t value) { return set(q3e_settings_set_draft_tokens, value); }
  Settings& draft(const std::string& path) { return set(q3e_settings_set_draft, path.c_str()); }
  // progress: returns whether to go on, and does not throw; lives as long as the settings.
  Settings& progress(std::function<bool(uint64_t done, uint64_t all)> progress) {
    auto kept = std::make_unique<Progress>(std::move(progress));
    const auto tell = [](void* data, uint64_t done, uint64_t all) -> int {
      return (*static_cast<Progress*>(data))(done, all) ? 0 : 1;
    };
    detail::check(q3e_settings_set_progress(handle_.get(), tell, kept.get()));
    progress_ = std::move(kept);
    return *this;
  }

  const q3e_settings* get() const noexcept { return handle_.get(); }

 private:
  using Progress = std::function<bool(uint64_t, uint64_t)>;

  template <class F, class T>
  Settings& set(F setter, T value) {
    detail::check(setter(handle_.get(), value));
    return *this;
  }

  detail::Handle<q3e_settings, q3e_settings_free> handle_;
  std::unique_ptr<Progress> progress_;
};

inline q3e_memory_plan plan(const std::string& path, const Settings& settings = {}) {
  q3e_memory_plan plan;
  detail::check(q3e_plan(path.c_str(), settings.get(), &plan, sizeof plan));
  return plan;
}

class Sampling {
 public:
  Sampling() : handle_(detail::made<q3e_sampling>(q3e_sampling_new)) {}

  Sampling& temperature(float value) { return set(q3e_sampling_set_temperature, value); }
  Sampling& top_k(uint32_t value) { return set(q3e_sampling_set_top_k, value); }
  Sampling& top_p(float value) { return set(q3e_sampling_set_top_p, value); }
  Sampling& min_p(float value) { return set(q3e_sampling_set_min_p, value); }
  Sampling& presence_penalty(float value) { return set(q3e_sampling_set_presence_penalty, value); }
  Sampling& frequency_penalty(float value) { return set(q3e_sampling_set_frequency_penalty, value); }
  Sampling& repetition_penalty(float value) { return set(q3e_sampling_set_repetition_penalty, value); }
  Sampling& bias(int32_t token, float value) {
    detail::check(q3e_sampling_set_bias(handle_.get(), token, value));
    return *this;
  }

  const q3e_sampling* get() const noexcept { return handle_.get(); }

 private:
  template <class F, class T>
  Sampling& set(F setter, T value) {
    detail::check(setter(handle_.get(), value));
    return *this;
  }

  detail::Handle<q3e_sampling, q3e_sampling_free> handle_;
};

class Answer;

class Request {
 public:
  // Which tokens may come next: sets bits of the words and returns true, or returns false where any may. See q3e_mask.
  using Mask = std::function<bool(std::span<const int32_t> tokens, std::span<uint32_t> words)>;

  Request() : handle_(detail::made<q3e_request>(q3e_request_new)) {}

  Request& add(const std::string& role, const std::string& content) {
    detail::check(q3e_request_add_message(handle_.get(), role.c_str(), content.c_str()));
    return *this;
  }
  Request& add(const Answer& answer);
  Request& add_json(const std::string& messages) { return set(q3e_request_add_messages, messages.c_str()); }
  Request& clear() {
    detail::check(q3e_request_clear_messages(handle_.get()));
    return *this;
  }
  Request& tools(const std::string& json) { return set(q3e_request_set_tools, json.c_str()); }
  // name: with `required`, of the one tool that is called.
  Request& tool_choice(q3e_tool_choice choice, const std::optional<std::string>& name = {}) {
    detail::check(q3e_request_set_tool_choice(handle_.get(), choice, name ? name->c_str() : nullptr));
    return *this;
  }
  Request& variables(const std::string& json) { return set(q3e_request_set_variables, json.c_str()); }
  Request& tokens(std::span<const int32_t> ids) {
    detail::check(q3e_request_set_tokens(handle_.get(), ids.data(), ids.size()));
    return *this;
  }
  Request& text(const std::string& prompt) { return set(q3e_request_set_text, prompt.c_str()); }
  Request& thinking(bool on) { return set(q3e_request_set_thinking, on ? Q3E_THINKING_ON : Q3E_THINKING_OFF); }
  Request& thinking_budget(uint32_t tokens, const std::string& message = "") {
    detail::check(q3e_request_set_thinking_budget(handle_.get(), tokens, message.c_str()));
    return *this;
  }
  Request& max_tokens(uint32_t value) { return set(q3e_request_set_max_tokens, value); }
  Request& min_tokens(uint32_t value) { return set(q3e_request_set_min_tokens, value); }
  Request& sampling(const Sampling& value) { return set(q3e_request_set_sampling, value.get()); }
  Request& seed(uint64_t value) { return set(q3e_request_set_seed, value); }
  Request& choice(uint32_t value) { return set(q3e_request_set_choice, value); }
  Request& stop(const std::string& value) { return set(q3e_request_add_stop, value.c_str()); }
  Request& stop_token(int32_t value) { return set(q3e_request_add_stop_token, value); }
  Request& ignore_end(bool value) { return set(q3e_request_set_ignore_end, value); }
  Request& logprobs(uint32_t top) {
    detail::check(q3e_request_set_logprobs(handle_.get(), 1, top));
    return *this;
  }
  Request& prompt_logprobs(uint32_t top) {
    detail::check(q3e_request_set_prompt_logprobs(handle_.get(), 1, top));
    return *this;
  }
  Request& verbatim(bool value) { return set(q3e_request_set_verbatim, value); }
  // Lives as long as the request and its answers. What it throws ends the answer.
  Request& mask(Mask value) {
    auto kept = std::make_shared<Mask>(std::move(value));
    detail::check(q3e_request_set_mask(handle_.get(), &Request::masked, kept.get()));
    mask_ = std::move(kept);
    return *this;
  }

  const q3e_request* get() const noexcept { return handle_.get(); }

 private:
  friend class Answer;

  template <class F, class T>
  Request& set(F setter, T value) {
    detail::check(setter(handle_.get(), value));
    return *this;
  }

  static int masked(void* data, const int32_t* tokens, size_t count, uint32_t* words, size_t size) noexcept {
    try {
      return (*static_cast<Mask*>(data))({tokens, count}, {words, size}) ? 1 : 0;
    } catch (...) {
      return -1;
    }
  }

  detail::Handle<q3e_request, q3e_request_free> handle_;
  std::shared_ptr<Mask> mask_;
};

// Of the library, until the callback returns.
class Event {
 public:
  explicit Event(const q3e_event& event) : event_(event) {}

  q3e_event_kind kind() const noexcept { return event_.kind; }
  std::string_view text() const noexcept { return {event_.text ? event_.text : "", event_.length}; }
  uint32_t call() const noexcept { return event_.call; }
  q3e_call_end call_end() const noexcept { return event_.call_end; }
  q3e_finish finish() const noexcept { return event_.finish; }
  std::optional<std::string_view> stop_string() const noexcept {
    return event_.stop_string ? std::optional<std::string_view>(event_.stop_string) : std::nullopt;
  }
  const q3e_logprob& token() const noexcept { return event_.token; }
  std::span<const q3e_logprob> top() const noexcept { return {event_.top, event_.top_count}; }
  const q3e_usage& usage() const noexcept { return *event_.usage; }

 private:
  const q3e_event& event_;
};

class Answer {
 public:
  // To its end; false where it was stopped or cancelled. on_event(const Event&) returns whether to go on; what it throws stops
  // the answer, and is thrown again.
  template <class F>
  bool run(F&& on_event) {
    struct Call {
      F& on_event;
      std::exception_ptr error;
    } call{on_event, {}};
    const auto tell = [](void* data, const q3e_event* event) -> int {
      Call& to = *static_cast<Call*>(data);
      try {
        return to.on_event(Event(*event)) ? 0 : 1;
      } catch (...) {
        to.error = std::current_exception();
        return 1;
      }
    };
    return ended(q3e_answer_run(handle_.get(), tell, &call), call.error);
  }
  bool run() { return ended(q3e_answer_run(handle_.get(), nullptr, nullptr), {}); }

  // From any thread.
  void cancel() noexcept { q3e_answer_cancel(handle_.get()); }

  q3e_finish finish() const noexcept { return q3e_answer_finish(handle_.get()); }
  q3e_usage usage() const {
    q3e_usage usage;
    detail::check(q3e_answer_usage(handle_.get(), &usage, sizeof usage));
    return usage;
  }
  // Valid until the answer runs on or is destroyed, as the texts are.
  std::span<const int32_t> tokens() const noexcept {
    size_t count = 0;
    const int32_t* const first = q3e_answer_tokens(handle_.get(), &count);
    return {first, count};
  }
  std::string_view content() const noexcept { return q3e_answer_content(handle_.get()); }
  std::string_view reasoning() const noexcept { return q3e_answer_reasoning(handle_.get()); }

  // Writes the conversation so far, for Model::restore.
  void save(const std::string& path, const std::string& note = "") const {
    detail::check(q3e_answer_save(handle_.get(), note.c_str(), path.c_str()));
  }

  const q3e_answer* get() const noexcept { return handle_.get(); }

 private:
  friend class Model;

  Answer(std::shared_ptr<q3e_model> model, const Request& request)
      : model_(std::move(model)),
        mask_(request.mask_),
        handle_(detail::made<q3e_answer>(q3e_answer_new, model_.get(), request.get())) {}

  static bool ended(q3e_status status, const std::exception_ptr& error) {
    if (error) std::rethrow_exception(error);
    if (status == Q3E_CANCELLED) return false;
    detail::check(status);
    return true;
  }

  std::shared_ptr<q3e_model> model_;
  std::shared_ptr<Request::Mask> mask_;
  detail::Handle<q3e_answer, q3e_answer_free> handle_;
};

inline Request& Request::add(const Answer& answer) { return set(q3e_request_add_answer, answer.get()); }

// Token by token.
class Session {
 public:
  uint32_t length() const noexcept { return q3e_session_length(handle_.get()); }
  void truncate(uint32_t length) { detail::check(q3e_session_truncate(handle_.get(), length)); }
  // From any thread.
  void cancel() noexcept { q3e_session_cancel(handle_.get()); }
  void resume() noexcept { q3e_session_resume(handle_.get()); }
  void forward(std::span<const int32_t> tokens) {
    detail::check(q3e_forward(handle_.get(), tokens.data(), tokens.size(), nullptr));
  }
  // logits: [Model::vocabulary]
  void forward(std::span<const int32_t> tokens, std::span<float> logits) {
    if (logits.size() < vocabulary_) throw Error(Q3E_BAD_ARGUMENT, "logits: expected room for the vocabulary, found less");
    detail::check(q3e_forward(handle_.get(), tokens.data(), tokens.size(), logits.data()));
  }
  int32_t sample() {
    int32_t token = 0;
    detail::check(q3e_sample(handle_.get(), &token));
    return token;
  }

 private:
  friend class Model;

  Session(std::shared_ptr<q3e_model> model, const q3e_sampling* sampling, uint64_t seed)
      : model_(std::move(model)),
        vocabulary_(q3e_vocabulary(model_.get())),
        handle_(detail::made<q3e_session>(q3e_session_new, model_.get(), sampling, seed)) {}

  std::shared_ptr<q3e_model> model_;
  uint32_t vocabulary_;
  detail::Handle<q3e_session, q3e_session_free> handle_;
};

// Copies are the same model.
class Model {
 public:
  explicit Model(const std::string& path, const Settings& settings = {})
      : handle_(detail::made<q3e_model>(q3e_load, path.c_str(), settings.get()), q3e_model_free) {}
  // Of a file's bytes, which may be freed afterwards.
  explicit Model(std::span<const std::byte> bytes, const Settings& settings = {})
      : handle_(detail::made<q3e_model>(q3e_load_memory, bytes.data(), bytes.size(), settings.get()), q3e_model_free) {}

  uint32_t vocabulary() const noexcept { return q3e_vocabulary(handle_.get()); }
  uint32_t context() const noexcept { return q3e_context(handle_.get()); }
  bool is_stop_token(int32_t token) const noexcept { return q3e_is_stop_token(handle_.get(), token) != 0; }
  q3e_sampling_values sampling(bool thinking) const {
    q3e_sampling_values values;
    detail::check(q3e_model_sampling(handle_.get(), thinking, &values, sizeof values));
    return values;
  }

  // special: names of tokens become those tokens.
  std::vector<int32_t> tokenize(std::string_view text, bool special = false) const {
    return detail::all<std::vector<int32_t>>([&](int32_t* tokens, size_t capacity, size_t* count) {
      return q3e_tokenize(handle_.get(), text.data(), text.size(), special, tokens, capacity, count);
    });
  }
  std::string detokenize(std::span<const int32_t> tokens) const {
    std::string text = detail::all<std::string>([&](char* out, size_t capacity, size_t* length) {
      return q3e_detokenize(handle_.get(), tokens.data(), tokens.size(), out, capacity ? capacity + 1 : 0, length);
    });
    return text;
  }
  std::vector<int32_t> tokens_of(const Request& request) const {
    return detail::all<std::vector<int32_t>>([&](int32_t* tokens, size_t capacity, size_t* count) {
      return q3e_request_tokens(handle_.get(), request.get(), tokens, capacity, count);
    });
  }

  struct Saved {
    std::vector<int32_t> tokens;
    std::string note;
  };
  Saved restore(const std::string& path) const {
    Saved saved;
    size_t count = 0, length = 0;
    detail::check(q3e_restore(get(), path.c_str(), nullptr, 0, &count, nullptr, 0, &length));
    saved.tokens.resize(count);
    saved.note.resize(length);
    detail::check(q3e_restore(get(), path.c_str(), saved.tokens.data(), count, &count, saved.note.data(), length + 1, &length));
    return saved;
  }

  // instruction: of a query, what is looked for; none: a document.
  std::vector<float> embed(const std::string& text, const std::optional<std::string>& instruction = {}) const {
    return detail::all<std::vector<float>>([&](float* values, size_t capacity, size_t* count) {
      return q3e_embed(get(), text.c_str(), instruction ? instruction->c_str() : nullptr, values, capacity, count);
    });
  }

  // From 0 to 1, in the order of the documents. instruction: what makes one right; none: that it answers a web search.
  std::vector<float> rerank(const std::string& query, std::span<const std::string> documents,
                            const std::optional<std::string>& instruction = {}) const {
    std::vector<const char*> texts;
    for (const std::string& each : documents) texts.push_back(each.c_str());
    std::vector<float> scores(texts.size());
    detail::check(q3e_rerank(get(), query.c_str(), texts.data(), texts.size(), instruction ? instruction->c_str() : nullptr,
                             scores.data()));
    return scores;
  }

  q3e_metrics metrics() const {
    q3e_metrics metrics;
    detail::check(q3e_model_metrics(get(), &metrics, sizeof metrics));
    return metrics;
  }

  Answer answer(const Request& request) const { return {handle_, request}; }
  Session session(uint64_t seed) const { return {handle_, nullptr, seed}; }
  Session session(uint64_t seed, const Sampling& sampling) const { return {handle_, sampling.get(), seed}; }

  q3e_model* get() const noexcept { return handle_.get(); }

 private:
  std::shared_ptr<q3e_model> handle_;
};

}  // namespace qwen3edge

#endif
