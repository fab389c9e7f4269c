#include "capi/request.h"

#include <memory>
#include <string_view>
#include <utility>

#include "capi/caller_memory.h"
#include "capi/guard.h"
#include "runtime/logprobs.h"
#include "template/json_value.h"
#include "text/utf8.h"

using q3e::capi::give;
using q3e::capi::guarded;
using q3e::capi::require;
using q3e::chat::Kind;
using q3e::chat::Value;

namespace {

constexpr size_t kMostStops = 64;
constexpr size_t kMostStopCharacters = 1024, kMostMessageCharacters = 1024;

std::string clean(std::string_view text) {
  std::string out;
  q3e::append_clean_utf8(text, out);
  return out;
}

Value parsed(const char* json, const char* name) { return q3e::chat::parsed_json(clean(json), name); }

template <class F>
q3e_status change(q3e_request* request, F&& f) {
  return guarded([&] {
    require(request, "request: expected a handle, found a null pointer");
    f(*request);
  });
}

std::string bounded(const char* text, const char* name, size_t most) {
  std::string found = clean(text);
  if (q3e::utf8_length(found) > most)
    throw q3e::Error(q3e::Status::bad_argument, std::string(name) + ": expected at most " + std::to_string(most) +
                                                    " characters, found " + std::to_string(q3e::utf8_length(found)));
  return found;
}

std::optional<uint32_t> asked_logprobs(const char* name, int logprobs, uint32_t top) {
  q3e::require_range<uint64_t>(name, top, 0, logprobs ? q3e::kMostTopLogprobs : 0);
  return logprobs ? std::optional(top) : std::nullopt;
}

}  // namespace

q3e::chat::Prompt q3e_request::prompt(const q3e_model& model) const {
  if (tokens && !model.texts) return {*tokens, thinking.value_or(false), false};
  const q3e::chat::PromptBuilder& texts = model.require_texts();
  if (tokens) return texts.of_tokens(*tokens, thinking, model.context());
  if (text) return texts.of_text(*text, thinking, model.context());
  return texts.of_conversation(conversation, thinking, model.context());
}

bool q3e_request::reads_calls() const {
  return !verbatim && tool_choice != Q3E_TOOL_CHOICE_NONE && conversation.tools.is(Kind::list) &&
         !conversation.tools.list().items.empty();
}

q3e_status q3e_request_new(q3e_request** request) {
  return guarded([&] {
    require(request, "request: expected a place for it, found a null pointer");
    *request = new q3e_request;
  });
}

void q3e_request_free(q3e_request* request) { delete request; }

q3e_status q3e_request_add_message(q3e_request* request, const char* role, const char* content) {
  return change(request, [&](q3e_request& r) {
    require(role && content, "add_message: expected a role and a content, found a null pointer");
    std::vector<q3e::chat::Dict::Item> fields;
    fields.emplace_back(Value::text("role"), Value::text(clean(role)));
    fields.emplace_back(Value::text("content"), Value::text(clean(content)));
    r.conversation.messages.emplace_back(Kind::dict, std::make_shared<q3e::chat::Dict>(std::move(fields)));
  });
}

q3e_status q3e_request_add_messages(q3e_request* request, const char* json) {
  return change(request, [&](q3e_request& r) {
    require(json, "add_messages: expected JSON, found a null pointer");
    const Value found = parsed(json, "messages");
    require(found.is(Kind::dict) || found.is(Kind::list),
            "messages: expected an object or an array of objects, found another value");
    std::vector<Value>& all = r.conversation.messages;
    if (found.is(Kind::dict))
      all.push_back(found);
    else
      all.insert(all.end(), found.list().items.begin(), found.list().items.end());
  });
}

q3e_status q3e_request_clear_messages(q3e_request* request) {
  return change(request, [](q3e_request& r) { r.conversation.messages.clear(); });
}

q3e_status q3e_request_set_tools(q3e_request* request, const char* json) {
  return change(request, [&](q3e_request& r) {
    const Value found = json ? parsed(json, "tools") : Value();
    require(!json || found.is(Kind::list), "tools: expected an array of objects, found another value");
    r.conversation.tools = found;
  });
}

q3e_status q3e_request_set_tool_choice(q3e_request* request, q3e_tool_choice choice, const char* name) {
  return change(request, [&](q3e_request& r) {
    require(choice >= Q3E_TOOL_CHOICE_AUTO && choice <= Q3E_TOOL_CHOICE_REQUIRED, "tool_choice: expected one of q3e_tool_choice");
    require(!name || choice == Q3E_TOOL_CHOICE_REQUIRED, "tool_choice: expected a name with `required` alone");
    r.chosen_tool = name ? std::optional(clean(name)) : std::nullopt;
    r.tool_choice = choice;
  });
}

q3e_status q3e_request_set_variables(q3e_request* request, const char* json) {
  return change(request, [&](q3e_request& r) { r.conversation.variables = json ? parsed(json, "variables") : Value(); });
}

q3e_status q3e_request_set_tokens(q3e_request* request, const int32_t* tokens, size_t count) {
  return change(request, [&](q3e_request& r) {
    require(!tokens || count > 0, "tokens: expected at least one, found none");
    r.tokens = tokens ? std::optional(std::vector<int32_t>(tokens, tokens + count)) : std::nullopt;
    r.text.reset();
  });
}

q3e_status q3e_request_set_text(q3e_request* request, const char* text) {
  return change(request, [&](q3e_request& r) {
    r.text = text ? std::optional<std::string>(text) : std::nullopt;
    r.tokens.reset();
  });
}

q3e_status q3e_request_set_thinking(q3e_request* request, q3e_thinking thinking) {
  return change(request, [&](q3e_request& r) {
    require(thinking >= Q3E_THINKING_AUTO && thinking <= Q3E_THINKING_ON, "thinking: expected one of q3e_thinking");
    r.thinking = thinking == Q3E_THINKING_AUTO ? std::nullopt : std::optional(thinking == Q3E_THINKING_ON);
  });
}

q3e_status q3e_request_set_thinking_budget(q3e_request* request, uint32_t tokens, const char* message) {
  return change(request, [&](q3e_request& r) {
    r.thinking_budget_message = message ? bounded(message, "thinking_budget: message", kMostMessageCharacters) : "";
    r.thinking_budget = tokens == Q3E_NO_LIMIT ? std::nullopt : std::optional(tokens);
  });
}

q3e_status q3e_request_set_max_tokens(q3e_request* request, uint32_t tokens) {
  return change(request, [&](q3e_request& r) { r.max_tokens = tokens; });
}

q3e_status q3e_request_set_min_tokens(q3e_request* request, uint32_t tokens) {
  return change(request, [&](q3e_request& r) { r.min_tokens = tokens; });
}

q3e_status q3e_request_set_sampling(q3e_request* request, const q3e_sampling* sampling) {
  return change(request, [&](q3e_request& r) { r.sampling = sampling ? *sampling : q3e_sampling(); });
}

q3e_status q3e_request_set_seed(q3e_request* request, uint64_t seed) {
  return change(request, [&](q3e_request& r) { r.seed = seed; });
}

q3e_status q3e_request_set_choice(q3e_request* request, uint32_t choice) {
  return change(request, [&](q3e_request& r) { r.choice = choice; });
}

q3e_status q3e_request_add_stop(q3e_request* request, const char* stop) {
  return change(request, [&](q3e_request& r) {
    require(stop && *stop, "stop: expected a string of at least one character, found none");
    require(r.stops.size() < kMostStops, "stop: expected at most 64 strings, found more");
    r.stops.push_back(bounded(stop, "stop", kMostStopCharacters));
  });
}

q3e_status q3e_request_add_stop_token(q3e_request* request, int32_t token) {
  return change(request, [&](q3e_request& r) {
    require(token >= 0, "stop_token: expected a token's id, found a negative number");
    require(r.stop_tokens.size() < kMostStops, "stop_token: expected at most 64 tokens, found more");
    r.stop_tokens.push_back(token);
  });
}

q3e_status q3e_request_set_ignore_end(q3e_request* request, int ignore) {
  return change(request, [&](q3e_request& r) { r.ignore_end = ignore != 0; });
}

q3e_status q3e_request_set_logprobs(q3e_request* request, int logprobs, uint32_t top) {
  return change(request, [&](q3e_request& r) { r.logprobs = asked_logprobs("logprobs: top", logprobs, top); });
}

q3e_status q3e_request_set_prompt_logprobs(q3e_request* request, int logprobs, uint32_t top) {
  return change(request, [&](q3e_request& r) { r.prompt_logprobs = asked_logprobs("prompt_logprobs: top", logprobs, top); });
}

q3e_status q3e_request_set_verbatim(q3e_request* request, int verbatim) {
  return change(request, [&](q3e_request& r) { r.verbatim = verbatim != 0; });
}

q3e_status q3e_request_set_mask(q3e_request* request, q3e_mask mask, void* data) {
  return change(request, [&](q3e_request& r) {
    r.mask = mask;
    r.mask_data = data;
  });
}

q3e_status q3e_request_tokens(const q3e_model* model, const q3e_request* request, int32_t* tokens, size_t capacity,
                              size_t* count) {
  return guarded([&] {
    require(model && request && count,
            "request_tokens: expected a model, a request and a place for the count, found a null pointer");
    give(request->prompt(*model).tokens, tokens, capacity, count);
  });
}
