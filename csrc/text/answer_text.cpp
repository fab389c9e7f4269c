#include "text/answer_text.h"

#include <algorithm>
#include <utility>

namespace q3e {
namespace {

constexpr std::string_view kThinkOpen = "<think>", kThinkClose = "</think>", kBlanks = " \t\r\n", kBreaks = "\r\n";

bool is_blank(std::string_view text) { return text.find_first_not_of(kBlanks) == text.npos; }

}  // namespace

AnswerText::AnswerText(std::shared_ptr<const Bpe> bpe, bool reasoning, std::vector<std::string> stops,
                       std::shared_ptr<const Tools> tools, bool verbatim)
    : bpe_(std::move(bpe)), stops_(std::move(stops)), reasoning_(reasoning && !verbatim), at_mark_(reasoning_) {
  if (verbatim) return;
  open_ = bpe_->find_added(kThinkOpen);
  close_ = bpe_->find_added(kThinkClose);
  open_by_text_ = !open_;
  close_by_text_ = !close_;
  if (!tools) return;
  call_open_ = bpe_->find_added(ToolCalls::kOpen);
  call_close_ = bpe_->find_added(ToolCalls::kClose);
  call_by_text_ = !call_open_;
  calls_.emplace(std::move(tools), !call_close_);
}

void AnswerText::push(int32_t token, std::vector<TextPiece>& out) {
  if (stopped()) return;
  first_piece_ = out.size();
  const auto id = static_cast<uint32_t>(token);  // of a negative one above all that a vocabulary has
  if (id == open_ || id == close_ || id == call_open_ || id == call_close_) return push_mark(id, out);
  if (in_call())
    ++call_tokens_;
  else
    reasoning_tokens_ += reasoning_;
  if (!tag_.empty()) ++tag_tokens_;
  if (bpe_->is_control(id)) return;
  decoded_.clear();
  utf8_.push(bpe_->token_bytes(id), decoded_);
  add(decoded_, out);
}

void AnswerText::push_mark(uint32_t id, std::vector<TextPiece>& out) {
  end_characters(out);
  assign(std::exchange(tag_, {}), out);
  if (in_call()) {
    if (calls_->quoted()) {
      ++call_tokens_;
      return add(bpe_->token_bytes(id), out);
    }
    calls_->end(out);
    settle_call(out);
    if (id == call_close_ && calls_->complete()) return;
  }
  if (id == call_open_) return begin_call(1, out);
  if (id == call_close_) {  // without a call to close
    if (std::exchange(broke_, false)) assign(ToolCalls::kClose, out);
    return;
  }
  if (id == close_) return close_thoughts(out);
  reasoning_tokens_ += reasoning_ && !at_start();  // it is text of a thought
  open_thoughts(out);
}

void AnswerText::finish(std::vector<TextPiece>& out, bool cut) {
  if (stopped()) return;
  first_piece_ = out.size();
  end_characters(out);
  if (in_call()) {
    if (cut || calls_->bare()) {
      blanks_.clear();
    } else {
      calls_->end(out);
      settle_call(out);
    }
  }
  if (const std::string tag = std::exchange(tag_, {}); tag.size() == 1) assign(tag, out);  // `<` alone is no tag yet
  dangling_.clear();
  if (!reasoning_ && !at_mark_ && !blanks_.empty()) show(blanks_, out);
  blanks_.clear();
  std::string held;
  stops_.finish(held);
  if (!held.empty()) add_piece(held, false, out);
}

void AnswerText::end_characters(std::vector<TextPiece>& out) {
  decoded_.clear();
  utf8_.finish(decoded_);
  add(decoded_, out);
}

// Where `<think>` opens thoughts and `</think>` is left out: further on in the content they are text.
bool AnswerText::at_start() const { return at_mark_ || (!reasoning_ && !has_content_); }

void AnswerText::open_thoughts(std::vector<TextPiece>& out) {
  if (at_start()) return begin_part(true);
  if (reasoning_)
    assign(kThinkOpen, out);
  else
    dangling_ += kThinkOpen;
}

void AnswerText::close_thoughts(std::vector<TextPiece>& out) {
  if (reasoning_ || at_start())
    begin_part(false);
  else
    assign(kThinkClose, out);
}

void AnswerText::begin_part(bool reasoning) {
  blanks_.clear();
  dangling_.clear();
  reasoning_ = reasoning;
  at_mark_ = true;
  broke_ = false;
}

void AnswerText::begin_call(uint32_t tokens, std::vector<TextPiece>& out) {
  assign_dangling(out);
  broke_ = false;
  call_tokens_ = tokens;
  calls_->begin();
}

// After it ended: what it is to the text around it.
void AnswerText::settle_call(std::vector<TextPiece>& out) {
  if (calls_->complete()) {
    if (!reasoning_ && has_content_) gap_ += blanks_;
    begin_part(false);
    return;
  }
  broke_ = true;
  if (reasoning_) reasoning_tokens_ += call_tokens_;
  assign(calls_->text(), out);
}

void AnswerText::add(std::string_view text, std::vector<TextPiece>& out) {
  while (!text.empty() && !stopped()) {
    if (in_call()) {
      text.remove_prefix(calls_->push(text, out));
      if (!in_call()) settle_call(out);
    } else if (tag_.empty() && text.front() != '<') {
      const size_t plain = std::min(text.find('<'), text.size());
      assign(text.substr(0, plain), out);
      text.remove_prefix(plain);
    } else {
      if (tag_.empty()) tag_tokens_ = text.data() == decoded_.data();
      tag_ += text.front();
      const bool goes_on = may_be_tag();
      if (goes_on || tag_.size() == 1) text.remove_prefix(1);
      if (goes_on)
        end_tag(out);
      else
        assign_broken_tag(out);
    }
  }
}

// Whether what has come since a `<` may become a tag that is no token and that does something where it stands.
bool AnswerText::may_be_tag() const {
  return (call_by_text_ && ToolCalls::kOpen.starts_with(tag_)) ||
         (open_by_text_ && (!reasoning_ || at_mark_) && kThinkOpen.starts_with(tag_)) ||
         (close_by_text_ && (reasoning_ || at_start()) && kThinkClose.starts_with(tag_));
}

// The character that came last belongs to no tag; if another came before it, it may begin the next.
void AnswerText::assign_broken_tag(std::vector<TextPiece>& out) {
  const char last = tag_.back();
  if (tag_.size() > 1) tag_.pop_back();
  if (!reasoning_ || tag_.size() == 1 || last != '<') return assign(std::exchange(tag_, {}), out);
  assign_dangling(out);  // and what was one but for its end is left out if the next one ends the thoughts
  dangling_ = std::exchange(tag_, {});
}

// If it is complete.
void AnswerText::end_tag(std::vector<TextPiece>& out) {
  const bool is_call = tag_ == ToolCalls::kOpen, is_open = tag_ == kThinkOpen;
  if (!is_call && !is_open && tag_ != kThinkClose) return;
  tag_.clear();
  if (reasoning_) reasoning_tokens_ -= tag_tokens_;  // which were counted as they came
  if (is_call)
    begin_call(tag_tokens_, out);
  else if (is_open)
    open_thoughts(out);
  else
    close_thoughts(out);
}

void AnswerText::assign_dangling(std::vector<TextPiece>& out) {
  if (!dangling_.empty()) assign(std::exchange(dangling_, {}), out);
}

// Of the blanks after a mark a thought keeps none, and the content its first line's indent. The last blanks of a thought wait for
// what follows, and so do those of the content until something else stands in it, as a mark may come yet. With tools the
// content's always do: those before a call are no part of it, and templates write their own.
void AnswerText::assign(std::string_view text, std::vector<TextPiece>& out) {
  if (!dangling_.empty()) {
    if (is_blank(text)) {
      dangling_ += text;
      return;
    }
    assign_dangling(out);
  }
  if (at_mark_) {
    const size_t begin = std::min(text.find_first_not_of(kBlanks), text.size());
    if (!reasoning_) {
      std::string_view indent = text.substr(0, begin);
      if (const size_t last = indent.find_last_of(kBreaks); last != indent.npos) {
        blanks_.clear();
        indent.remove_prefix(last + 1);
      }
      blanks_ += indent;
    }
    text.remove_prefix(begin);
    if (text.empty()) return;
    at_mark_ = false;
  }
  const bool holds = reasoning_ || calls_ || (!has_content_ && is_blank(text));
  const size_t end = holds ? text.find_last_not_of(kBlanks) + 1 : text.size();  // npos + 1 is 0
  if (end > 0) {
    shown_ = reasoning_ ? std::string() : std::exchange(gap_, {});
    shown_ += blanks_;
    shown_ += text.substr(0, end);
    blanks_.clear();
    has_content_ = has_content_ || !reasoning_;
    show(shown_, out);
  }
  blanks_ += text.substr(end);
}

void AnswerText::show(std::string_view text, std::vector<TextPiece>& out) {
  if (reasoning_) return add_piece(text, true, out);
  std::string piece;
  stops_.push(text, piece);
  if (!piece.empty()) add_piece(piece, false, out);
}

// One piece of what a token completes, wherever it was cut to look for tags.
void AnswerText::add_piece(std::string_view text, bool reasoning, std::vector<TextPiece>& out) {
  if (out.size() > first_piece_ && out.back().call == CallEvent::none && out.back().reasoning == reasoning)
    out.back().text += text;
  else
    out.push_back({std::string(text), reasoning});
}

}  // namespace q3e
