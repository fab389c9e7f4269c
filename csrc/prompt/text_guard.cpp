#include "prompt/text_guard.h"

#include <optional>
#include <utility>

#include "base/error.h"

namespace q3e::chat {
namespace {

constexpr uint64_t kItemBytes = 64;

}  // namespace

TextGuard::TextGuard(const Tokenizer& tokenizer, uint32_t context, bool tags_as_text)
    : tokenizer_(tokenizer), context_(context), tags_as_text_(tags_as_text), left_(most_text_bytes(context)) {}

std::string TextGuard::text(std::string_view text) { return guarded(text, tags_as_text_); }

std::string TextGuard::answer(std::string_view text) { return guarded(text, false); }

std::string TextGuard::guarded(std::string_view text, bool tags) {
  count(text.size());
  std::optional<std::string> marked = tokenizer_.protect(text, tags);
  return marked ? std::move(*marked) : std::string(text);
}

void TextGuard::item() { count(kItemBytes); }

void TextGuard::count(uint64_t nbytes) {
  if (nbytes > left_)
    throw Error(Status::bad_argument, "expected texts of at most " + std::to_string(most_text_bytes(context_)) +
                                          " bytes for a context of " + std::to_string(context_) +
                                          " tokens, found more: load the model with a larger context, or leave out the oldest "
                                          "messages");
  left_ -= nbytes;
}

}  // namespace q3e::chat
