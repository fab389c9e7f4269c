#include "capi/answer.h"

#include <algorithm>
#include <chrono>
#include <initializer_list>
#include <limits>
#include <optional>
#include <random>
#include <span>
#include <utility>

#include "capi/caller_memory.h"
#include "capi/forced_calls.h"
#include "capi/guard.h"
#include "prompt/tools.h"
#include "runtime/constraint.h"
#include "runtime/sampling_defaults.h"
#include "text/tool_calls.h"
#include "text/turns.h"

using q3e::capi::give;
using q3e::capi::guarded;
using q3e::capi::require;
using q3e::chat::Dict;
using q3e::chat::Kind;
using q3e::chat::Value;

namespace {

static_assert(static_cast<int>(q3e::Finish::stop) == Q3E_FINISH_STOP);
static_assert(static_cast<int>(q3e::Finish::failed) == Q3E_FINISH_FAILED);

constexpr std::chrono::milliseconds kLookForCancel{50};  // a signal's handler sets a flag and can wake nobody

// The caller's.
class MaskCallback : public q3e::Constraint {
 public:
  MaskCallback(q3e_mask mask, void* data, uint32_t tokens) : mask_(mask), data_(data), words_((size_t{tokens} + 31) / 32) {}

  std::optional<q3e::TokenMask> allow(std::span<const int32_t> tokens) override {
    std::fill(words_.begin(), words_.end(), 0);
    const int masked = mask_(data_, tokens.data(), tokens.size(), words_.data(), words_.size());
    require(masked >= 0, "mask: the callback ended the answer");
    if (masked == 0) return std::nullopt;
    return q3e::TokenMask{words_.data(), words_.size()};
  }

 private:
  const q3e_mask mask_;
  void* const data_;
  std::vector<uint32_t> words_;
};

uint64_t drawn_seed() {
  std::random_device device;
  return uint64_t{device()} << 32 | device();
}

// By which an answer's calls begin, where it may have none.
int32_t call_token(const q3e_model& model) {
  const std::optional<uint32_t> token = model.require_texts().tokenizer().bpe()->find_added(q3e::ToolCalls::kOpen);
  if (token) return static_cast<int32_t>(*token);
  throw q3e::Error(q3e::Status::bad_argument, "tool_choice: expected " + std::string(q3e::ToolCalls::kOpen) +
                                                  " in the vocabulary, which 'none' bans, found none: leave out the tools");
}

q3e::capi::CallForm call_form(const q3e_model& model, const q3e_request& request, const q3e::chat::Prompt& prompt) {
  require(!request.mask && !request.verbatim, "tool_choice: expected neither a mask nor verbatim beside calls that must come");
  std::vector<std::string> names = q3e::chat::function_names(request.conversation.tools);
  require(!names.empty(), "tool_choice: expected a tool that is a function, found none");
  if (const auto& chosen = request.chosen_tool) {
    if (std::find(names.begin(), names.end(), *chosen) == names.end())
      throw q3e::Error(q3e::Status::bad_argument, "tool_choice: expected one of the tools, found '" + *chosen + "'");
    names = {*chosen};
  }
  return {std::move(names), request.chosen_tool.has_value(), model.require_texts().calls_in_xml(), prompt.thinking,
          prompt.reasoning};
}

std::shared_ptr<q3e::Constraint> constraint_of(const q3e_model& model, const q3e_request& request,
                                               const q3e::chat::Prompt& prompt, const std::vector<int32_t>& ends) {
  if (request.tool_choice == Q3E_TOOL_CHOICE_REQUIRED)
    return std::make_shared<q3e::capi::ForcedCalls>(model.require_texts().tokenizer().bpe(), call_form(model, request, prompt),
                                                    ends, model.usable_tokens());
  if (request.mask) return std::make_shared<MaskCallback>(request.mask, request.mask_data, model.usable_tokens());
  return nullptr;
}

std::shared_ptr<q3e::Sampler> sampler_of(const q3e_model& model, const q3e_request& request, bool thinking, uint64_t seed,
                                         const std::vector<int32_t>& ends) {
  q3e::SamplingParameters parameters = q3e::stored_sampling(*model.file, thinking);
  request.sampling.apply(parameters);
  parameters.seed = seed;
  parameters.choice = request.choice;
  parameters.min_tokens = request.min_tokens;
  parameters.stop_tokens = ends;
  for (const uint32_t token : model.stop_tokens)  // that are to be ignored
    if (const auto id = static_cast<int32_t>(token); std::find(ends.begin(), ends.end(), id) == ends.end())
      parameters.never.push_back(id);
  if (request.tool_choice == Q3E_TOOL_CHOICE_NONE) parameters.never.push_back(call_token(model));
  return std::make_shared<q3e::Sampler>(model.vocabulary(), model.usable_tokens(), std::move(parameters));
}

q3e::GenerationRequest generation_request(const q3e_model& model, const q3e_request& request, uint64_t seed) {
  q3e::chat::Prompt prompt = request.prompt(model);
  std::vector<int32_t> ends = request.stop_tokens;
  if (!request.ignore_end) ends.insert(ends.end(), model.stop_tokens.begin(), model.stop_tokens.end());
  q3e::GenerationRequest r;
  r.sampler = sampler_of(model, request, prompt.thinking, seed, ends);
  r.constraint = constraint_of(model, request, prompt, ends);
  r.max_tokens = request.max_tokens;
  r.stop_tokens = std::move(ends);
  r.verbatim = request.verbatim;
  r.reasoning = prompt.reasoning && !request.verbatim;
  if (request.reads_calls()) r.tools = q3e::chat::declared_tools(request.conversation.tools);
  r.stops = request.stops;
  r.logprobs = request.logprobs;
  r.prompt_logprobs = request.prompt_logprobs;
  r.thinking_budget = request.thinking_budget;
  const bool needs_texts = r.tools || !r.stops.empty() || r.thinking_budget;
  if (model.texts || needs_texts) {
    const q3e::chat::PromptBuilder& texts = model.require_texts();
    r.texts = texts.tokenizer().bpe();
    r.boundaries = q3e::turn_boundaries(*r.texts, prompt.tokens);
    if (r.thinking_budget) r.end_of_thoughts = texts.end_of_thoughts(request.thinking_budget_message);
  }
  r.prompt = std::move(prompt.tokens);
  return r;
}

q3e_usage usage_of(const q3e::Usage& u, uint64_t seed) {
  return {seed,
          u.prompt_tokens,
          u.cached_tokens,
          u.computed_tokens,
          u.completion_tokens,
          u.reasoning_tokens,
          u.queue_seconds,
          u.prefill_seconds,
          u.decode_seconds};
}

}  // namespace

// Who is told, until it wants no more.
class q3e_answer::Listener {
 public:
  Listener(q3e_on_event on_event, void* data, const q3e_usage& usage) : on_event_(on_event), data_(data), usage_(usage) {}

  bool stopped() const { return stopped_; }

  void tell(q3e_event event) {
    if (!on_event_ || stopped_) return;
    event.usage = &usage_;
    stopped_ = on_event_(data_, &event) != 0;
  }

  // logprobs: null: not asked for.
  void tell_token(q3e_event_kind kind, int32_t token, const q3e::Logprobs* logprobs) {
    q3e_event event = Listener::event(kind);
    event.token = {token, logprobs ? logprobs->token : std::numeric_limits<double>::quiet_NaN()};
    std::vector<q3e_logprob> top;
    if (logprobs)
      for (const q3e::TokenLogprob& each : logprobs->top) top.push_back({each.token, each.logprob});
    event.top = top.empty() ? nullptr : top.data();
    event.top_count = top.size();
    tell(event);
  }

  static q3e_event event(q3e_event_kind kind, const std::string* text = nullptr) {
    q3e_event event{};
    event.kind = kind;
    if (text) event.text = text->c_str(), event.length = text->size();
    return event;
  }

 private:
  const q3e_on_event on_event_;
  void* const data_;
  const q3e_usage& usage_;
  bool stopped_ = false;
};

q3e_answer::q3e_answer(q3e_model& of_model, const q3e_request& request) : model(of_model) {
  usage.seed = request.seed ? *request.seed : drawn_seed();
  q3e::GenerationRequest asked = generation_request(model, request, usage.seed);
  prompt = asked.prompt;
  generation = model.scheduler.submit(std::move(asked));
}

q3e_answer::~q3e_answer() {
  guarded([&] { model.scheduler.cancel(*generation); });
}

void q3e_answer::run(q3e_on_event on_event, void* data) {
  Listener listener(on_event, data, usage);
  while (finish == Q3E_FINISH_RUNNING) {
    q3e::News news;
    if (!model.scheduler.next(*generation, news, kLookForCancel)) continue;
    error_ = news.error;
    hear(news, listener);
    if (!listener.stopped()) continue;
    if (finish == Q3E_FINISH_RUNNING) {
      model.scheduler.cancel(*generation);
      finish = Q3E_FINISH_CANCELLED;
    }
    throw q3e::Error(q3e::Status::cancelled, "the answer was stopped by its callback");
  }
  if (error_) std::rethrow_exception(error_);
  if (finish == Q3E_FINISH_CANCELLED) throw q3e::Error(q3e::Status::cancelled, "the answer was cancelled");
}

void q3e_answer::hear(const q3e::News& news, Listener& listener) {
  const uint32_t computed = usage.computed_tokens;
  usage = usage_of(news.usage, usage.seed);
  finish = static_cast<q3e_finish>(news.finish);
  if (usage.computed_tokens > computed) listener.tell(Listener::event(Q3E_EVENT_PROMPT));
  for (const q3e::Logprobs& each : news.prompt_logprobs) listener.tell_token(Q3E_EVENT_PROMPT_TOKEN, prompt[scored_++], &each);
  for (size_t i = 0; i < news.tokens.size(); ++i) {
    tokens.push_back(news.tokens[i]);
    listener.tell_token(Q3E_EVENT_TOKEN, news.tokens[i], i < news.logprobs.size() ? &news.logprobs[i] : nullptr);
  }
  for (const q3e::TextPiece& piece : news.pieces) hear(piece, listener);
  if (finish == Q3E_FINISH_RUNNING) return;
  model.prompt_tokens += usage.prompt_tokens;
  model.cached_tokens += usage.cached_tokens;
  model.answer_tokens += usage.completion_tokens;
  if (std::exchange(in_call_, false)) {
    q3e_event event = Listener::event(Q3E_EVENT_CALL_END);
    event.call = static_cast<uint32_t>(calls.size() - 1);
    event.call_end = Q3E_CALL_CUT;
    listener.tell(event);
  }
  q3e_event event = Listener::event(Q3E_EVENT_END);
  event.finish = finish;
  event.stop_string = news.stop_string ? news.stop_string->c_str() : nullptr;
  listener.tell(event);
}

void q3e_answer::hear(const q3e::TextPiece& piece, Listener& listener) {
  q3e_event event = Listener::event(Q3E_EVENT_CONTENT, &piece.text);
  if (piece.call == q3e::CallEvent::none) {
    (piece.reasoning ? reasoning : content) += piece.text;
    if (piece.reasoning) event.kind = Q3E_EVENT_REASONING;
    return listener.tell(event);
  }
  if (piece.call == q3e::CallEvent::begun) {
    calls.push_back({piece.text, {}, false});
    in_call_ = true;
    event.kind = Q3E_EVENT_CALL_BEGIN;
  }
  if (!in_call_) return;  // it broke before its name was known
  event.call = static_cast<uint32_t>(calls.size() - 1);
  if (piece.call == q3e::CallEvent::arguments) {
    calls.back().arguments += piece.text;
    event.kind = Q3E_EVENT_CALL_ARGUMENTS;
  } else if (piece.call != q3e::CallEvent::begun) {
    in_call_ = false;
    calls.back().complete = piece.call == q3e::CallEvent::complete;
    event.kind = Q3E_EVENT_CALL_END;
    event.call_end = calls.back().complete ? Q3E_CALL_COMPLETE : Q3E_CALL_BROKEN;
  }
  listener.tell(event);
}

Value q3e_answer::message() const {
  const auto dict = [](std::initializer_list<std::pair<const char*, Value>> fields) {
    std::vector<Dict::Item> items;
    for (const auto& [name, value] : fields)
      if (!value.is(Kind::absent)) items.emplace_back(Value::text(name), value);
    return Value(Kind::dict, std::make_shared<Dict>(std::move(items)));
  };
  std::vector<Value> complete;
  for (const Call& call : calls)
    if (call.complete)
      complete.push_back(
          dict({{"type", Value::text("function")},
                {"function", dict({{"name", Value::text(call.name)}, {"arguments", Value::text(call.arguments)}})}}));
  return dict({{"role", Value::text("assistant")},
               {"content", Value::text(content)},
               {"reasoning_content", reasoning.empty() ? Value() : Value::text(reasoning)},
               {"tool_calls", complete.empty() ? Value() : Value::list(std::move(complete))}});
}

q3e_status q3e_request_add_answer(q3e_request* request, const q3e_answer* answer) {
  return guarded([&] {
    require(request && answer, "add_answer: expected a request and an answer, found a null pointer");
    request->conversation.messages.push_back(answer->message());
  });
}

q3e_status q3e_answer_new(q3e_model* model, const q3e_request* request, q3e_answer** answer) {
  return guarded([&] {
    require(model && request && answer, "answer: expected a model, a request and a place for the answer, found a null pointer");
    *answer = nullptr;
    *answer = new q3e_answer(*model, *request);
  });
}

q3e_status q3e_answer_run(q3e_answer* answer, q3e_on_event on_event, void* data) {
  return guarded([&] {
    require(answer, "answer: expected one, found a null pointer");
    answer->run(on_event, data);
  });
}

void q3e_answer_cancel(q3e_answer* answer) {
  if (answer) answer->generation->abandon();
}

void q3e_answer_free(q3e_answer* answer) { delete answer; }

q3e_finish q3e_answer_finish(const q3e_answer* answer) { return answer ? answer->finish : Q3E_FINISH_FAILED; }

q3e_status q3e_answer_usage(const q3e_answer* answer, q3e_usage* usage, size_t size) {
  return guarded([&] {
    require(answer && usage, "usage: expected an answer and a place for its usage, found a null pointer");
    give(answer->usage, usage, size);
  });
}

const int32_t* q3e_answer_tokens(const q3e_answer* answer, size_t* count) {
  if (count) *count = answer ? answer->tokens.size() : 0;
  return answer ? answer->tokens.data() : nullptr;
}

const char* q3e_answer_content(const q3e_answer* answer) { return answer ? answer->content.c_str() : ""; }

const char* q3e_answer_reasoning(const q3e_answer* answer) { return answer ? answer->reasoning.c_str() : ""; }
