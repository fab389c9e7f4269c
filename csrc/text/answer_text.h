// The text of an answer, token by token: whole characters, thoughts apart from content, up to the first stop string.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/bpe.h"
#include "text/stop_strings.h"
#include "text/utf8_assembler.h"

namespace q3e {

// A stretch of an answer's text, never empty, UTF-8.
struct TextPiece {
  std::string text;
  bool reasoning;
};

// Thoughts are told from content by the ids of `<think>` and `</think>`, never by text, so that neither mark can leak or be
// imitated. The line breaks that models put around the marks (none, one, two, with spaces) belong to neither part and are left
// out, and so is a mark that changes nothing, such as a second `</think>`. Control tokens are no text. Stop strings are looked
// for in the content alone.
class AnswerText {
 public:
  // bpe: of any vocabulary, also one without the marks. reasoning: the prompt has opened `<think>` already. stops: UTF-8. Throws
  // Error(bad_argument) for an empty one.
  AnswerText(std::shared_ptr<const Bpe> bpe, bool reasoning, std::vector<std::string> stops);

  // Appends the pieces that this token completes, mostly one or none. Ids without bytes, or out of range, are no text. After a
  // stop nothing comes any more, nor is it counted.
  void push(int32_t token, std::vector<TextPiece>& out);

  // Appends what is left when the answer ends; it may complete a stop string yet.
  void finish(std::vector<TextPiece>& out);

  bool stopped() const { return stops_.stopped(); }                // by a stop string
  bool reasoning() const { return reasoning_; }                    // whether the last token was a thought's
  uint32_t reasoning_tokens() const { return reasoning_tokens_; }  // without the marks

 private:
  void end_part(std::vector<TextPiece>& out);
  void assign(std::string_view text, std::vector<TextPiece>& out);
  void show(std::string_view text, std::vector<TextPiece>& out);

  std::shared_ptr<const Bpe> bpe_;
  std::optional<uint32_t> open_, close_;
  Utf8Assembler utf8_;
  StopStrings stops_;
  std::string decoded_, shown_;  // buffers
  std::string blanks_;           // that may turn out to stand beside a mark, and are not shown yet
  bool reasoning_;
  bool at_mark_;  // nothing but blanks since the last mark
  uint32_t reasoning_tokens_ = 0;
};

}  // namespace q3e
