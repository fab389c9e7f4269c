#include "text/answer_text.h"

#include <algorithm>
#include <utility>

namespace q3e {
namespace {

constexpr std::string_view kBlanks = " \t\r\n", kBreaks = "\r\n";

}  // namespace

AnswerText::AnswerText(std::shared_ptr<const Bpe> bpe, bool reasoning, std::vector<std::string> stops)
    : bpe_(std::move(bpe)),
      open_(bpe_->find_added("<think>")),
      close_(bpe_->find_added("</think>")),
      stops_(std::move(stops)),
      reasoning_(reasoning),
      at_mark_(reasoning) {}

void AnswerText::push(int32_t token, std::vector<TextPiece>& out) {
  if (stopped()) return;
  const auto id = static_cast<uint32_t>(token);  // of a negative one above all that a vocabulary has
  if (id == open_ || id == close_) {
    end_part(out);
    reasoning_ = id == open_;
    at_mark_ = true;
    return;
  }
  reasoning_tokens_ += reasoning_;
  if (bpe_->is_control(id)) return;
  decoded_.clear();
  utf8_.push(bpe_->token_bytes(id), decoded_);
  assign(decoded_, out);
}

void AnswerText::finish(std::vector<TextPiece>& out) {
  if (stopped()) return;
  end_part(out);
  std::string held;
  stops_.finish(held);
  if (!held.empty()) out.push_back({std::move(held), false});
}

void AnswerText::end_part(std::vector<TextPiece>& out) {
  decoded_.clear();
  utf8_.finish(decoded_);
  assign(decoded_, out);
  blanks_.clear();
}

// Of the blanks after a mark a thought keeps none, and the content its first line's indent. A thought's last ones wait for what
// follows.
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
  const size_t end = reasoning_ ? text.find_last_not_of(kBlanks) + 1 : text.size();  // npos + 1 is 0
  if (end > 0) {
    shown_ = blanks_;
    shown_ += text.substr(0, end);
    blanks_.clear();
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
