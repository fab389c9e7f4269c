#include "text/tokenizer.h"

#include <algorithm>

#include "base/error.h"
#include "text/normal_form.h"
#include "text/text_chunks.h"
#include "text/utf8.h"
#include "text/utf8_assembler.h"

namespace q3e {
namespace {

// Whether it is UTF-8 but for its marks, if there may be some.
bool is_text(std::string_view text, bool marked) {
  for (;;) {
    text.remove_prefix(utf8_prefix(text));
    if (text.empty()) return true;
    if (!marked || !text.starts_with(Tokenizer::kPlainMark)) return false;
    text.remove_prefix(Tokenizer::kPlainMark.size());
  }
}

std::string without_marks(std::string_view text) {
  std::string plain;
  plain.reserve(text.size());
  for (;;) {
    const size_t at = text.find(Tokenizer::kPlainMark);
    plain += text.substr(0, at);
    if (at == text.npos) return plain;
    text.remove_prefix(at + Tokenizer::kPlainMark.size());
  }
}

}  // namespace

WordSplitter Tokenizer::splitter_of(std::string_view model, std::string_view pre) {
  const std::optional<WordSplitter> splitter = WordSplitter::find(pre);
  if (model != "gpt2" || !splitter)
    throw Error(Status::unsupported_model, "expected a tokenizer of model 'gpt2' and pre one of " +
                                               std::string(WordSplitter::kNames) + ", found " + quoted(model) + " and " +
                                               quoted(pre));
  return *splitter;
}

void Tokenizer::require_length(size_t characters) {
  if (characters > kMostCharacters)
    throw Error(Status::bad_argument, "expected a text of at most " + std::to_string(kMostCharacters) + " characters, found " +
                                          std::to_string(characters));
}

Tokenizer::Tokenizer(WordSplitter splitter, std::shared_ptr<const Bpe> bpe)
    : splitter_(splitter), bpe_(std::move(bpe)), names_(bpe_->added()) {}

std::unique_ptr<Tokenizer> Tokenizer::read(const ModelFile& file) {
  const WordSplitter splitter = splitter_of(file.string("tokenizer.ggml.model"), file.string("tokenizer.ggml.pre"));
  return std::make_unique<Tokenizer>(splitter, std::make_shared<const Bpe>(Bpe::read(file)));
}

bool Tokenizer::encode(std::string_view text, bool special, uint64_t most, std::vector<uint32_t>& ids) const {
  return encode_names(text, special ? kAllNames : kWordNames, false, {ids, ids.size(), most});
}

bool Tokenizer::encode_prompt(std::string_view prompt, uint64_t most, std::vector<uint32_t>& ids) const {
  return encode_names(prompt, kAllNames, true, {ids, ids.size(), most});
}

bool Tokenizer::encode_names(std::string_view text, NameKinds kinds, bool marked, const Output& out) const {
  if (text.size() > kMostCharacters) require_length(utf8_length(text));
  size_t start = 0;
  while (const std::optional<TokenNames::Found> found = names_.find(text, start, kinds)) {
    encode_plain(text.substr(start, found->at - start), marked, out);
    if (!out.full()) out.ids.push_back(found->id);
    if (out.full()) return false;
    start = found->at + found->name.size();
  }
  encode_plain(text.substr(start), marked, out);
  return !out.full();
}

void Tokenizer::encode_plain(std::string_view part, bool marked, const Output& out) const {
  std::string clean, plain, normal;
  if (!is_text(part, marked)) {
    append_clean_utf8(marked ? without_marks(part) : std::string(part), clean);
    part = clean;
  }
  TextChunks chunks(part);
  while (!out.full()) {
    std::string_view chunk = chunks.next();
    if (chunk.empty()) break;
    if (marked && chunk.find(kPlainMark) != chunk.npos) chunk = plain = without_marks(chunk);
    if (splitter_.normalizes() && normal_prefix(chunk) != chunk.size()) {
      normal.clear();
      append_normal(chunk, normal);
      chunk = normal;
    }
    while (!chunk.empty()) {
      const std::string_view word = splitter_.first_word(chunk);
      bpe_->encode(word, out.ids);
      chunk.remove_prefix(word.size());
    }
  }
}

std::optional<std::string> Tokenizer::protect(std::string_view text, bool tags) const {
  const NameKinds kinds = tags ? kMarkNames : kControlNames;
  std::string out;
  size_t start = 0;
  while (const std::optional<TokenNames::Found> found = names_.find(text, start, kinds)) {
    size_t first = found->at + 1;
    while (first < found->at + found->name.size() && is_utf8_tail(text[first])) ++first;
    out.append(text.substr(start, first - start)).append(kPlainMark);
    start = first;  // not behind the name: another one may begin inside it
  }
  // Nor may its end become a name together with the text that the template puts behind it.
  const size_t longest = std::min(text.size() - start, names_.longest_mark());
  bool begins = false;
  for (size_t nbytes = 1; nbytes <= longest && !begins; ++nbytes) begins = names_.begins_mark(text.substr(text.size() - nbytes));
  if (out.empty() && !begins) return std::nullopt;
  out += text.substr(start);
  if (begins) out += kPlainMark;
  return out;
}

std::string Tokenizer::decode(std::span<const uint32_t> ids, bool skip_control) const {
  std::string out;
  Utf8Assembler assembler;
  for (const uint32_t id : ids)
    if (!skip_control || !bpe_->is_control(id)) assembler.push(bpe_->token_bytes(id), out);
  assembler.finish(out);
  return out;
}

std::vector<std::string> Tokenizer::words(std::string_view text) const {
  std::string normal;
  if (splitter_.normalizes()) {
    append_normal(text, normal);
    text = normal;
  }
  std::vector<std::string> words;
  for (; !text.empty(); text.remove_prefix(words.back().size())) words.emplace_back(splitter_.first_word(text));
  return words;
}

}  // namespace q3e
