#include "runtime/generation.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace q3e {

Generation::Generation(GenerationRequest&& request, uint64_t number)
    : request_(std::move(request)), number_(number), tokens_(request_.prompt), arrived_(Clock::now()) {
  if (request_.texts) text_.emplace(request_.texts, request_.reasoning, request_.stops, request_.tools, request_.verbatim);
  if (request_.sampler)
    for (const int32_t token : request_.prompt) request_.sampler->accept(token, false);
}

uint32_t Generation::next(uint32_t most) const {
  const uint32_t count = std::min(most, left());
  const auto at = std::upper_bound(marks_.begin(), marks_.end(), computed_);
  return at == marks_.end() ? count : std::min(count, *at - computed_);
}

void Generation::mark(uint32_t length, uint32_t unit) {
  length -= length % unit;
  const auto at = std::lower_bound(marks_.begin(), marks_.end(), length);
  if (length > 0 && length < prompt_size() && (at == marks_.end() || *at != length)) marks_.insert(at, length);
}

void Generation::append(int32_t token, uint32_t context) {
  last_ = Clock::now();
  if (first_ == Clock::time_point{}) first_ = last_;
  take(token, context);
  end_thoughts(context);
}

// Of one that asked for the state.
void Generation::finish(std::vector<float>&& state) {
  first_ = last_ = Clock::now();
  news_.state = std::move(state);
  end(Finish::stop);
}

// Where they have used up their budget.
void Generation::end_thoughts(uint32_t context) {
  if (!text_ || !text_->reasoning() || !request_.thinking_budget || text_->reasoning_tokens() < *request_.thinking_budget) return;
  for (const int32_t token : request_.end_of_thoughts) {
    if (finish_ != Finish::running) return;
    if (request_.logprobs) news_.logprobs.push_back({std::numeric_limits<double>::quiet_NaN(), {}});
    take(token, context);
  }
}

void Generation::take(int32_t token, uint32_t context) {
  tokens_.push_back(token);
  news_.tokens.push_back(token);
  has_news_ = true;
  if (std::find(request_.stop_tokens.begin(), request_.stop_tokens.end(), token) != request_.stop_tokens.end())
    return end(Finish::stop);
  request_.sampler->accept(token, true);
  if (text_) {
    text_->push(token, news_.pieces);
    if (text_->stopped()) return end(Finish::stop);
  }
  if (completion() == request_.max_tokens)
    end(Finish::max_tokens);
  else if (size() >= context)
    end(Finish::context);
}

void Generation::end(Finish finish) {
  finish_ = finish;
  has_news_ = true;
  const bool cut_by_string = text_ && text_->stopped();
  if (!text_ || cut_by_string || finish == Finish::cancelled || finish == Finish::failed) return;
  text_->finish(news_.pieces, finish != Finish::stop);
  if (text_->stopped())
    finish_ = Finish::stop;  // a stop string that the last held characters complete
  else if (finish == Finish::stop && text_->tool_calls() > 0)
    finish_ = Finish::tool_calls;
}

void Generation::give(News& news) {
  news = std::exchange(news_, {});
  news.finish = finish_;
  if (text_ && text_->stopped()) news.stop_string = *text_->stop_string();
  news.usage = usage();
  news.reasoning = text_ && text_->reasoning();
  news.error = error_;
  has_news_ = false;
}

Usage Generation::usage() const {
  const auto seconds = [](Clock::time_point from, Clock::time_point to) {
    return from == Clock::time_point{} || to < from ? 0.0 : std::chrono::duration<double>(to - from).count();
  };
  const Clock::time_point none{};
  return {prompt_size(),
          cached_,
          read_,
          completion(),
          text_ ? text_->reasoning_tokens() : 0,
          seconds(arrived_, started_),
          first_ == none ? 0.0 : seconds(started_, first_),
          seconds(first_, last_)};
}

}  // namespace q3e
