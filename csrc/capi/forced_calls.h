// An answer that must be tool calls, of which the form is forced: what stands around their arguments.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/constraint.h"
#include "text/bpe.h"

namespace q3e::capi {

// What calls look like, and where they begin.
struct CallForm {
  std::vector<std::string> names;  // of tools that may be called
  bool once = false;               // exactly one call; else as many as the model makes
  bool in_xml = false;             // as Qwen3-Coder's template shows them, else as one JSON object
  bool thinking = false;           // the model may open thoughts; they come first, and calls behind them
  bool reasoning = false;          // the prompt has
};

// As qwen3edge/grammar/calls.py has it, but for the arguments: they are the model's own until it closes the call.
class ForcedCalls : public Constraint {
 public:
  // ends: tokens that end an answer. tokens: of the vocabulary. Throws Error(bad_argument) where tags of calls are no tokens.
  ForcedCalls(std::shared_ptr<const Bpe> bpe, CallForm form, std::vector<int32_t> ends, uint32_t tokens);

  std::optional<TokenMask> allow(std::span<const int32_t> tokens) override;

 private:
  enum class Place : uint8_t {
    begin,      // it may think, or call at once
    thoughts,   //
    closed,     // behind thoughts, where line breaks belong to neither part
    open,       // `<tool_call>` comes
    beginning,  // of a call, up to its arguments
    arguments,  // up to `</tool_call>`
    called,     // it ends, or calls again
  };

  void step(int32_t token);
  void step_beginning(std::string_view text);
  void allow_token(int32_t token);
  void allow_beginnings();
  void allow_breaks();
  void allow_all_but(std::span<const int32_t> tokens);
  std::string beginning_of(const std::string& name) const;

  const std::shared_ptr<const Bpe> bpe_;
  const CallForm form_;
  const std::vector<int32_t> ends_;
  const std::optional<uint32_t> think_, think_close_, call_, call_close_;
  Place place_;
  size_t breaks_ = 0;               // line breaks behind thoughts
  std::vector<std::string> left_;   // beginnings that this one may still become, without what has come of them
  std::vector<uint32_t> words_;     // of the mask
  std::vector<uint32_t> no_texts_;  // tokens that are no text, ascending
};

}  // namespace q3e::capi
