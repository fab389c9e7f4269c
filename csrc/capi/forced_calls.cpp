#include "capi/forced_calls.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "template/json_text.h"
#include "text/tool_calls.h"

namespace q3e::capi {
namespace {

constexpr size_t kMostBreaks = 2;

}  // namespace

ForcedCalls::ForcedCalls(std::shared_ptr<const Bpe> bpe, CallForm form, std::vector<int32_t> ends, uint32_t tokens)
    : bpe_(std::move(bpe)),
      form_(std::move(form)),
      ends_(std::move(ends)),
      think_(bpe_->find_added("<think>")),
      think_close_(bpe_->find_added("</think>")),
      call_(bpe_->find_added(ToolCalls::kOpen)),
      call_close_(bpe_->find_added(ToolCalls::kClose)),
      place_(form_.reasoning                        ? Place::thoughts
             : form_.thinking && think_.has_value() ? Place::begin
                                                    : Place::open),
      words_((size_t{tokens} + 31) / 32) {
  if (!call_ || !call_close_)
    throw Error(Status::bad_argument, "tool_choice: expected " + std::string(ToolCalls::kOpen) + " and " +
                                          std::string(ToolCalls::kClose) +
                                          " in the vocabulary, by which calls are forced, found none");
  if (form_.reasoning && !think_close_)
    throw Error(Status::bad_argument,
                "tool_choice: expected </think> in the vocabulary, behind which calls are forced, found none, and a prompt that "
                "opens thoughts");
  for (const Bpe::Added& added : bpe_->added()) no_texts_.push_back(added.id);
}

std::string ForcedCalls::beginning_of(const std::string& name) const {
  if (form_.in_xml) return "\n<function=" + name + ">\n";
  return "\n{\"name\": " + chat::json_text(chat::Value::text(name), {}) + ", \"arguments\": ";
}

std::optional<TokenMask> ForcedCalls::allow(std::span<const int32_t> tokens) {
  for (const int32_t token : tokens) step(token);
  std::fill(words_.begin(), words_.end(), 0);
  switch (place_) {
    case Place::begin:
      allow_token(static_cast<int32_t>(*think_));
      allow_token(static_cast<int32_t>(*call_));
      break;
    case Place::thoughts: {  // they end in calls: not with the model's last word, nor with a call within them
      std::vector<int32_t> others = ends_;
      others.push_back(static_cast<int32_t>(*call_));
      allow_all_but(others);
      break;
    }
    case Place::closed:
      allow_breaks();
      [[fallthrough]];
    case Place::open:
      allow_token(static_cast<int32_t>(*call_));
      break;
    case Place::beginning:
      allow_beginnings();
      break;
    case Place::arguments:
      allow_all_but(ends_);
      break;
    case Place::called:
      for (const int32_t token : ends_) allow_token(token);
      if (!form_.once || ends_.empty()) allow_beginnings();
      break;
  }
  return TokenMask{words_.data(), words_.size()};
}

void ForcedCalls::step(int32_t token) {
  const auto is = [&](const std::optional<uint32_t>& id) { return id && static_cast<uint32_t>(token) == *id; };
  const std::string_view text = bpe_->token_bytes(static_cast<uint64_t>(token));
  switch (place_) {
    case Place::thoughts:
      if (is(think_close_)) place_ = Place::closed;
      break;
    case Place::begin:
    case Place::closed:
    case Place::open:
      if (is(call_)) {
        place_ = Place::beginning;
        left_.clear();
        for (const std::string& name : form_.names) left_.push_back(beginning_of(name));
      } else if (is(think_)) {
        place_ = Place::thoughts;
      } else {
        breaks_ += text.size();
      }
      break;
    case Place::beginning:
      step_beginning(text);
      break;
    case Place::arguments:
      if (!is(call_close_)) break;
      place_ = Place::called;
      left_ = {"\n"};
      break;
    case Place::called:
      place_ = Place::open;
      break;
  }
}

void ForcedCalls::step_beginning(std::string_view text) {
  std::erase_if(left_, [&](std::string& left) {
    if (text.starts_with(left)) place_ = Place::arguments;
    if (!left.starts_with(text)) return true;
    left.erase(0, text.size());
    return false;
  });
}

void ForcedCalls::allow_token(int32_t token) {
  const auto at = static_cast<size_t>(token);
  if (token >= 0 && at / 32 < words_.size()) words_[at / 32] |= 1u << at % 32;
}

// Tokens that go on with one, also those that have a part of its arguments already.
void ForcedCalls::allow_beginnings() {
  const char next = form_.in_xml ? '<' : '{';
  const auto goes_on = [&](std::string_view text, std::string_view left) {
    return left.starts_with(text) || (place_ == Place::beginning && text.starts_with(left) && text[left.size()] == next);
  };
  const auto tokens = static_cast<uint32_t>(std::min<size_t>(bpe_->size(), words_.size() * 32));
  for (uint32_t token = 0; token < tokens; ++token) {
    const std::string_view text = bpe_->token_bytes(token);
    if (!text.empty() && std::any_of(left_.begin(), left_.end(), [&](const std::string& left) { return goes_on(text, left); }) &&
        !std::binary_search(no_texts_.begin(), no_texts_.end(), token))
      allow_token(static_cast<int32_t>(token));
  }
}

void ForcedCalls::allow_breaks() {
  const auto tokens = static_cast<uint32_t>(std::min<size_t>(bpe_->size(), words_.size() * 32));
  for (uint32_t token = 0; token < tokens; ++token) {
    const std::string_view text = bpe_->token_bytes(token);
    if (!text.empty() && text.find_first_not_of('\n') == text.npos && breaks_ + text.size() <= kMostBreaks)
      allow_token(static_cast<int32_t>(token));
  }
}

void ForcedCalls::allow_all_but(std::span<const int32_t> tokens) {
  std::fill(words_.begin(), words_.end(), ~0u);
  for (const int32_t token : tokens)
    if (const auto at = static_cast<size_t>(token); token >= 0 && at / 32 < words_.size()) words_[at / 32] &= ~(1u << at % 32);
}

}  // namespace q3e::capi
