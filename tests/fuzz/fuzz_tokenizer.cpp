// libFuzzer: any bytes as a text, tokenized with a small vocabulary by each way to make words. What comes back is the text.
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "text/byte_alphabet.h"
#include "text/normal_form.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

namespace {

using namespace q3e;

// A token for every byte, some that merge, also across characters, and names of each kind, one within another.
std::shared_ptr<const Bpe> vocabulary() {
  std::vector<std::string> tokens;
  for (int byte = 0; byte < 256; ++byte) tokens.push_back(byte_character(static_cast<uint8_t>(byte)));
  std::vector<std::string> merges;
  const auto merge = [&](const std::string& left, const std::string& right) {
    merges.push_back(left + " " + right);
    tokens.push_back(left + right);
  };
  const std::string space = byte_character(' ');
  merge("a", "b");
  merge("ab", "ab");
  merge(space, "a");
  merge(space + "a", "b");
  merge(byte_character(0xe4), byte_character(0xb8));
  merge(byte_character(0x80), byte_character(0xe4));
  std::vector<int32_t> kinds(tokens.size(), 1);
  const auto add = [&](const char* name, TokenKind kind) {
    tokens.emplace_back(name);
    kinds.push_back(static_cast<int32_t>(kind));
  };
  add("<|im_end|>", TokenKind::control);
  add("<a>", TokenKind::user_defined);
  add("a>", TokenKind::control);
  add("[x]", TokenKind::user_defined);
  add("word", TokenKind::user_defined);
  const std::vector<std::string_view> t(tokens.begin(), tokens.end()), m(merges.begin(), merges.end());
  return std::make_shared<const Bpe>(t, kinds, m);
}

void require(bool condition) {
  if (!condition) std::abort();
}

void tokenize(const Tokenizer& tokenizer, bool normalizes, std::string_view bytes) {
  std::string clean;
  append_clean_utf8(bytes, clean);
  // A name may be followed by a mark that would join its last letter: the parts are normalized, not the whole.
  const auto normal = [&](const std::string& text) {
    std::string out;
    append_normal(text, out);
    return normalizes ? out : text;
  };
  const std::string expected = normal(clean);
  std::vector<uint32_t> ids, limited, prompt;
  require(tokenizer.encode(bytes, false, Tokenizer::kNoLimit, ids));
  require(normal(tokenizer.decode(ids, false)) == expected);
  require(tokenizer.encode(bytes, false, ids.size(), limited) && limited == ids);
  if (!ids.empty()) require(!tokenizer.encode(bytes, false, ids.size() - 1, limited));
  ids.clear();
  require(tokenizer.encode(bytes, true, Tokenizer::kNoLimit, ids));
  require(tokenizer.encode_prompt(tokenizer.protect(clean, true).value_or(clean), Tokenizer::kNoLimit, prompt));
  const std::vector<uint32_t> marks = tokenizer.marks();
  require(normal(tokenizer.decode(prompt, false)) == expected);
  for (const uint32_t id : prompt) require(id < marks.front() || id > marks.back());  // no name of a mark is left
  prompt.clear();
  (void)tokenizer.encode_prompt(bytes, Tokenizer::kNoLimit, prompt);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::shared_ptr<const Bpe> bpe = vocabulary();
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  for (const char* const pre : {"qwen2", "deepseek-r1-qwen", "qwen35"}) {
    const WordSplitter splitter = *WordSplitter::find(pre);
    const Tokenizer tokenizer(splitter, bpe);
    try {
      tokenize(tokenizer, splitter.normalizes(), bytes);
    } catch (const Error&) {  // too long a word
    }
  }
  return 0;
}
