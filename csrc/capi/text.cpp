// Texts to tokens and back.
#include <algorithm>
#include <string_view>
#include <vector>

#include "capi/caller_memory.h"
#include "capi/guard.h"
#include "capi/model.h"

using q3e::capi::give;
using q3e::capi::give_text;
using q3e::capi::guarded;
using q3e::capi::require;

q3e_status q3e_tokenize(const q3e_model* model, const char* text, size_t length, int special, int32_t* tokens, size_t capacity,
                        size_t* count) {
  return guarded([&] {
    require(model && (text || length == 0) && count,
            "tokenize: expected a model, a text and a place for the count, found a null pointer");
    std::vector<uint32_t> ids;
    model->require_texts().tokenizer().encode(length ? std::string_view(text, length) : std::string_view(), special != 0,
                                              q3e::Tokenizer::kNoLimit, ids);
    give(ids, tokens, capacity, count);
  });
}

q3e_status q3e_detokenize(const q3e_model* model, const int32_t* tokens, size_t count, char* text, size_t capacity,
                          size_t* length) {
  return guarded([&] {
    require(model && (tokens || count == 0) && length,
            "detokenize: expected a model, tokens and a place for the length, found a null pointer");
    const q3e::Tokenizer& tokenizer = model->require_texts().tokenizer();
    for (size_t i = 0; i < count; ++i)
      q3e::require_range<int64_t>("tokens", tokens[i], 0, std::max(model->vocabulary(), tokenizer.bpe()->size()) - 1);
    give_text(tokenizer.decode(std::vector<uint32_t>(tokens, tokens + count), false), text, capacity, length);
  });
}
