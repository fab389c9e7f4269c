#include "text/answer_text.h"

#include <algorithm>
#include <utility>

namespace q3e {
namespace {

constexpr std::string_view kThinkOpen = "<think>", kThinkClose = "</think>", kBlanks = " \t\r\n", kBreaks = "\r\n";

bool is_blank(char c) { return kBlanks.find(c) != kBlanks.npos; }

}  // namespace

AnswerText::AnswerText(std::shared_ptr<const Bpe> bpe, bool reasoning, std::vector<std::string> stops,
                       std::shared_ptr<const Tools> tools, bool verbatim)
    : bpe_(std::move(bpe)), stops_(std::move(stops)), reasoning_(reasoning && !verbatim), at_mark_(reasoning_) {
  if (verbatim) return;
  open_ = bpe_->find_added(kThinkOpen);
  close_ = bpe_->find_added(kThinkClose);
  if (!tools) return;
  call_open_ = bpe_->find_added(ToolCalls::kOpen);
  call_close_ = bpe_->find_added(ToolCalls::kClose);
  calls_.emplace(std::move(tools), !call_close_);
}

void AnswerText::push(int32_t token, std::vector<TextPiece>& out) {
  if (stopped()) return;
  const auto id = static_cast<uint32_t>(token);  // of a negative one above all that a vocabulary has
  if (id == open_ || id == close_ || id == call_open_ || id == call_close_) return push_mark(id, out);
  if (in_call())
    ++call_tokens_;
  else
    reasoning_tokens_ += reasoning_;
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
  if (id == call_open_) return begin_call();
  if (id == call_close_) {  // without a call to close
    if (std::exchange(broke_, false)) assign(ToolCalls::kClose, out);
    return;
  }
  if (calls_ && !has_content_) blanks_.clear();
  end_part(out);
  reasoning_ = id == open_;
  at_mark_ = true;
  broke_ = false;
}

void AnswerText::finish(std::vector<TextPiece>& out, bool cut) {
  if (stopped()) return;
  end_characters(out);
  if (in_call()) {
    if (cut || calls_->bare()) {
      blanks_.clear();
    } else {
      calls_->end(out);
      settle_call(out);
    }
  }
  if (tag_.size() == 1) assign(tag_, out);  // `<` alone is no tag yet
  end_part(out);
  std::string held;
  stops_.finish(held);
  if (!held.empty()) out.push_back({std::move(held), false});
}

void AnswerText::end_characters(std::vector<TextPiece>& out) {
  decoded_.clear();
  utf8_.finish(decoded_);
  add(decoded_, out);
}

void AnswerText::end_part(std::vector<TextPiece>& out) {
  if (!reasoning_ && !at_mark_ && !blanks_.empty()) show(blanks_, out);
  blanks_.clear();
}

void AnswerText::begin_call() {
  broke_ = false;
  call_tokens_ = 1;
  calls_->begin();
}

// After it ended: what it is to the text around it.
void AnswerText::settle_call(std::vector<TextPiece>& out) {
  if (calls_->complete()) {
    if (!reasoning_ && has_content_) gap_ += blanks_;
    blanks_.clear();
    reasoning_ = false;
    at_mark_ = true;
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
    } else if (calls_ && !reasoning_ && (!call_open_ || (!close_ && !has_content_))) {
      text.remove_prefix(look_for_tags(text, out));
    } else {
      assign(text, out);
      return;
    }
  }
}

bool AnswerText::may_be_tag() const {
  return (!call_open_ && ToolCalls::kOpen.starts_with(tag_)) || (!close_ && !has_content_ && kThinkClose.starts_with(tag_));
}

// Returns how much of the text it took: all, or as much as came before a call.
size_t AnswerText::look_for_tags(std::string_view text, std::vector<TextPiece>& out) {
  std::string plain;
  for (size_t i = 0; i < text.size(); ++i) {
    tag_ += text[i];
    if (!may_be_tag()) {
      plain.append(tag_, 0, tag_.size() - 1);
      tag_ = text[i];
      if (!plain.empty() && !std::all_of(plain.begin(), plain.end(), is_blank)) has_content_ = true;
      if (!may_be_tag()) {
        if (!is_blank(text[i])) has_content_ = true;
        plain += std::exchange(tag_, {});
      }
    }
    if (tag_ == ToolCalls::kOpen) {
      assign(plain, out);
      tag_.clear();
      begin_call();
      return i + 1;
    }
    if (tag_ == kThinkClose) {
      tag_.clear();
      plain.clear();
      blanks_.clear();
      at_mark_ = true;
    }
  }
  assign(plain, out);
  return text.size();
}

// Of the blanks after a mark a thought keeps none, and the content its first line's indent. A thought's last ones wait for what
// follows, and with tools so do the content's: those before a call are no part of it, and templates write their own.
void AnswerText::assign(std::string_view text, std::vector<TextPiece>& out) {
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
  const bool holds = reasoning_ || calls_;
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
  std::string piece;
  if (reasoning_)
    piece = text;
  else
    stops_.push(text, piece);
  if (!piece.empty()) out.push_back({std::move(piece), reasoning_});
}

}  // namespace q3e
