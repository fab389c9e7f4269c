// The text of an answer, token by token: whole characters, thoughts apart from content, up to the first stop string; and the tool
// calls in it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/bpe.h"
#include "text/stop_strings.h"
#include "text/text_piece.h"
#include "text/tool_calls.h"
#include "text/utf8_assembler.h"

namespace q3e {

// `<think>` opens thoughts where a part begins: at the start of the answer, behind thoughts, behind a call. `</think>` ends
// thoughts, and is left out where content begins. Anywhere else a tag is text, as people ask for code about them: one who writes
// a tag into the middle of an answer loses nothing, and its rest stays content. So does `</think>` behind content that nothing
// opened as thoughts: it was shown by then. Left out are also the line breaks that models put around the tags (none, one, two,
// with spaces), which belong to neither part, and a `<think>` that nothing follows.
//
// A tag that is an added token of the vocabulary is told by its id, so that it can neither leak nor be imitated. One that is not
// is told by its text; nothing but what may become one is held back then, and what is unfinished at the end is left out. Control
// tokens are no text. Stop strings are looked for in the content alone.
//
// With tools, `<tool_call>` and `</tool_call>` are such tags as well. A tag within a string of a call is text. A call ends
// thoughts, but only once it is complete: what turns out to be none goes back to the part in which it stood, and so do its
// tokens.
class AnswerText {
 public:
  // bpe: of any vocabulary, also one without the tags. reasoning: the prompt has opened `<think>` already. stops: UTF-8. tools:
  // null: calls are text. verbatim: all is content, the tags are text, and neither reasoning nor tools count. Throws
  // Error(bad_argument) for an empty stop string.
  AnswerText(std::shared_ptr<const Bpe> bpe, bool reasoning, std::vector<std::string> stops,
             std::shared_ptr<const Tools> tools = nullptr, bool verbatim = false);

  // Appends the pieces that this token completes, mostly one or none. Ids without bytes, or out of range, are no text. After a
  // stop nothing comes any more, nor is it counted.
  void push(int32_t token, std::vector<TextPiece>& out);

  // Appends what is left when the answer ends; it may complete a stop string yet. cut: the model did not end it; a call that is
  // open then stays so, even if only its closing tag is missing.
  void finish(std::vector<TextPiece>& out, bool cut = false);

  bool stopped() const { return stops_.stopped(); }                  // by a stop string
  const std::string* stop_string() const { return stops_.found(); }  // by which; null: by none
  bool reasoning() const { return reasoning_ && !in_call(); }        // whether the last token was a thought's
  // Without those of tags that are left out; of one in text the tokens count until it is complete, so that nobody counts too few.
  // A call in thoughts counts with them once it broke, and not before.
  uint32_t reasoning_tokens() const { return reasoning_tokens_; }
  uint32_t tool_calls() const { return calls_ ? calls_->count() : 0; }  // that are complete

 private:
  bool in_call() const { return calls_ && calls_->open(); }
  bool at_start() const;
  void push_mark(uint32_t id, std::vector<TextPiece>& out);
  void end_characters(std::vector<TextPiece>& out);
  void open_thoughts(std::vector<TextPiece>& out);
  void close_thoughts(std::vector<TextPiece>& out);
  void begin_part(bool reasoning);
  void begin_call(uint32_t tokens, std::vector<TextPiece>& out);
  void settle_call(std::vector<TextPiece>& out);
  void add(std::string_view text, std::vector<TextPiece>& out);
  bool may_be_tag() const;
  void end_tag(std::vector<TextPiece>& out);
  void assign_broken_tag(std::vector<TextPiece>& out);
  void assign_dangling(std::vector<TextPiece>& out);
  void assign(std::string_view text, std::vector<TextPiece>& out);
  void show(std::string_view text, std::vector<TextPiece>& out);
  void add_piece(std::string_view text, bool reasoning, std::vector<TextPiece>& out);

  std::shared_ptr<const Bpe> bpe_;
  std::optional<uint32_t> open_, close_;
  std::optional<uint32_t> call_open_, call_close_;                            // with tools
  bool open_by_text_ = false, close_by_text_ = false, call_by_text_ = false;  // no tokens
  std::optional<ToolCalls> calls_;
  Utf8Assembler utf8_;
  StopStrings stops_;
  std::string decoded_, shown_;  // buffers
  std::string blanks_;           // that may turn out to stand beside a mark, and are not shown yet
  std::string gap_;              // that stood before a call, and are shown if content follows it
  std::string tag_;              // the beginning of a mark in text
  std::string dangling_;         // `<think>` behind content, or an unfinished tag in thoughts: text if text follows
  bool reasoning_;
  bool at_mark_;              // nothing but blanks since the last mark
  bool has_content_ = false;  // any but blanks
  bool broke_ = false;        // the last call did, and its closing tag is text
  uint32_t reasoning_tokens_ = 0;
  uint32_t call_tokens_ = 0;  // of the open call
  uint32_t tag_tokens_ = 0;   // that began within the mark in text
  size_t first_piece_ = 0;    // of those that this token completes
};

}  // namespace q3e
