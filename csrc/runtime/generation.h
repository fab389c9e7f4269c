// One answer: what was asked, how far it is, and what its reader has not taken yet. Or a sequence of tokens that its owner
// continues by hand.
#pragma once

#include <chrono>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "exec/cancel_flag.h"
#include "runtime/constraint.h"
#include "runtime/drafts.h"
#include "runtime/logprobs.h"
#include "runtime/sampler.h"
#include "text/answer_text.h"

namespace q3e {

struct GenerationRequest {
  std::vector<int32_t> prompt;         // at least one token
  std::shared_ptr<Sampler> sampler;    // of this answer alone; it has counted nothing yet
  uint32_t max_tokens = 0;             // of the answer; 0: until the context is full
  std::vector<int32_t> stop_tokens;    // end the answer and belong to it
  std::shared_ptr<const Bpe> texts;    // null: tokens only
  bool reasoning = false;              // the prompt has opened `<think>`
  bool verbatim = false;               // all of the answer is content: thoughts and calls are text of it
  std::shared_ptr<const Tools> tools;  // null: calls in the answer are text
  std::vector<std::string> stops;      // UTF-8; end the content and do not belong to it
  // How many of the most probable tokens are told beside each of the answer, and beside each of the prompt from the second on;
  // none: no log probabilities at all. Those of a prompt are computed, whatever was kept of it.
  std::optional<uint32_t> logprobs, prompt_logprobs;
  std::shared_ptr<Constraint> constraint;  // null: any token may be picked
  // After so many tokens of thoughts `end_of_thoughts` is appended, which is not picked; none: thoughts end by themselves.
  std::optional<uint32_t> thinking_budget;
  std::vector<int32_t> end_of_thoughts;
  bool state = false;  // no answer, and no sampler: the state behind the prompt ends it
  // Of the prompt, where another is likely to part from it: see `turn_boundaries`.
  std::vector<uint32_t> boundaries;
};

enum class Finish : uint8_t {
  running,
  stop,        // a stop token or string
  tool_calls,  // a stop token, after calls
  max_tokens,  // cut
  context,     // cut: the context is full
  cancelled,
  failed,
};

struct Usage {
  uint32_t prompt_tokens, cached_tokens;  // cached: of the prompt, that were not computed
  uint32_t computed_tokens;               // of the prompt, cached ones included, so far
  uint32_t completion_tokens, reasoning_tokens;
  double queue_seconds, prefill_seconds, decode_seconds;
};

// What happened since the reader looked last.
struct News {
  std::vector<int32_t> tokens;
  std::vector<Logprobs> logprobs;         // of each of these tokens, if they were asked for
  std::vector<Logprobs> prompt_logprobs;  // of the next tokens of the prompt
  std::vector<TextPiece> pieces;
  std::vector<float> state;  // [width] behind the prompt's last token, if it was asked for
  Finish finish = Finish::running;
  std::optional<std::string> stop_string;  // that ended the answer, if one did
  Usage usage{};
  bool reasoning = false;      // the last token was a thought
  std::exception_ptr error{};  // of one that failed
};

// Held by its reader and by the scheduler, which alone changes it.
class Generation {
 public:
  // For finalizers and signals' handlers, which may run anywhere: it ends in the next step, and the one that runs ends within a
  // layer if all that it computes is for such.
  void abandon() { abandoned_.set(); }

 private:
  friend class Scheduler;
  friend class ScheduledBatch;
  using Clock = std::chrono::steady_clock;

  Generation(GenerationRequest&& request, uint64_t number);

  bool by_hand() const { return !request_.sampler && !request_.state; }
  // By hand, and for its owner to go on.
  bool idle() const { return by_hand() && (!extension_.cancel || has_news_); }
  uint32_t size() const { return static_cast<uint32_t>(tokens_.size()); }
  uint32_t left() const { return size() - computed_; }
  // Tokens of which all but the last may come from others: a token's score needs the logits of the one before it.
  std::span<const int32_t> reusable() const { return std::span(tokens_).first(scores() ? scored_ : size()); }
  // The next tokens that are computed at once, at most so many.
  uint32_t next(uint32_t most) const;
  // Behind so many tokens, of the prompt, a snapshot is made.
  void mark(uint32_t length, uint32_t unit);
  uint32_t prompt_size() const { return static_cast<uint32_t>(request_.prompt.size()); }
  uint32_t completion() const { return size() - prompt_size(); }
  // Tokens of the prompt whose log probabilities are still wanted.
  bool scores() const { return request_.prompt_logprobs && scored_ < prompt_size(); }
  // What comes before the first token that is picked. context: tokens of a sequence.
  void begin(uint32_t context) { end_thoughts(context); }
  // Appends a token that was picked, and ends the answer where it ends.
  void append(int32_t token, uint32_t context);
  void finish(std::vector<float>&& state);
  void take(int32_t token, uint32_t context);
  void end_thoughts(uint32_t context);
  void end(Finish finish);
  Usage usage() const;
  // All that its reader has not seen.
  void give(News& news);

  const GenerationRequest request_;
  const uint64_t number_;  // in the order of arrival
  std::optional<AnswerText> text_;
  std::vector<int32_t> tokens_;       // the prompt, then the answer
  uint32_t computed_ = 0;             // of these, in the KV cache
  uint32_t cached_ = 0;               // of the prompt, when it was started first
  uint32_t read_ = 0;                 // of the prompt, so far
  std::vector<uint32_t> marks_;       // ascending: see `mark`
  uint32_t scored_ = 1;               // of the prompt, the first included, which nothing comes before
  uint32_t constrained_ = 0;          // tokens of the answer that the constraint has seen,
  uint32_t ahead_ = 0;                // and behind them draft tokens, which it has to forget
  std::optional<uint32_t> sequence_;  // while it runs
  std::unique_ptr<Drafts> drafts_;    // while it runs, where guesses are made
  bool cancelled_ = false;
  CancelFlag abandoned_;  // nobody reads it any more; set without the scheduler's lock
  uint64_t served_ = 0;   // the step in which a part of its prompt was computed last
  Clock::time_point arrived_, started_{}, first_{}, last_{};

  Finish finish_ = Finish::running;
  std::exception_ptr error_;
  News news_;  // for the reader: tokens, pieces, log probabilities
  bool has_news_ = false;

  // By hand: of the tokens that are being appended.
  struct Extension {
    uint32_t begin = 0;
    float* logits = nullptr;             // [vocabulary] after the last one
    const CancelFlag* cancel = nullptr;  // null: there are none
  } extension_;
};

}  // namespace q3e
