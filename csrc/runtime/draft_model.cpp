#include "runtime/draft_model.h"

#include <algorithm>
#include <exception>
#include <limits>
#include <string>

#include "base/error.h"

namespace q3e {

bool same_vocabulary(const ModelFile& a, const ModelFile& b) {
  const char* key = "tokenizer.ggml.tokens";
  if (!a.find_key(key) || !b.find_key(key))
    return !a.find_key(key) && !b.find_key(key) && a.u32("qwen3edge.vocab_size") == b.u32("qwen3edge.vocab_size");
  const auto mine = a.array(key, ValueType::string).as_strings(), others = b.array(key, ValueType::string).as_strings();
  return std::equal(mine.begin(), mine.begin() + static_cast<std::ptrdiff_t>(std::min(mine.size(), others.size())),
                    others.begin());
}

DraftModel::DraftModel(BatchEngine& engine, const EngineLimits& target)
    : engine_(engine), limits_(engine.limits()), vocabulary_(target.vocabulary) {
  const auto require = [](const char* what, uint32_t least, uint32_t found) {
    if (found < least)
      throw Error(Status::bad_argument, std::string("draft: expected a model loaded with at least ") + std::to_string(least) +
                                            " " + what + ", as the one that it drafts for, found " + std::to_string(found));
  };
  if (limits_.snapshot_unit > 0)
    throw Error(Status::unsupported_model,
                "draft: expected a model whose cache can be cut at any token, found one with a state that cannot go back");
  require("sequences", target.sequences, limits_.sequences);
  require("tokens of context", target.context, limits_.context);
}

void DraftModel::begin(uint32_t sequence, std::span<const int32_t> tokens) { engine_.reuse(sequence, tokens); }

void DraftModel::share(uint32_t from, uint32_t to, uint32_t length) {
  const uint32_t shared = std::min(length, engine_.length(from));
  if (shared > engine_.length(to)) engine_.share(from, to, shared);
}

void DraftModel::end(uint32_t sequence, std::span<const int32_t> tokens) {
  const size_t read = std::min<size_t>(engine_.length(sequence), tokens.size());
  cut(sequence, static_cast<uint32_t>(read));
  engine_.keep(sequence, tokens.first(engine_.length(sequence)));
  engine_.truncate(sequence, 0);
}

void DraftModel::cut(uint32_t sequence, uint32_t length) {
  if (engine_.length(sequence) > length) engine_.truncate(sequence, length);
}

uint32_t DraftModel::propose(std::span<Ask> asks, const CancelFlag& cancel) {
  std::vector<Ask*> going;
  uint32_t free = engine_.available_pages(), passes = 0;
  for (Ask& ask : asks) {
    const auto most = static_cast<uint32_t>(ask.tokens.size()) + std::max(ask.count, 1u) - 1;
    const uint32_t pages = engine_.needed_pages(ask.sequence, length(ask.sequence), most);
    if (most > limits_.context || pages > free) continue;
    free -= pages;
    going.push_back(&ask);
  }
  std::vector<size_t> counted;
  for (const Ask* ask : going) counted.push_back(ask->sampler ? ask->sampler->accepted() : 0);
  const std::vector<Ask*> all = going;
  const auto forget = [&] {
    for (size_t i = 0; i < all.size(); ++i)
      if (all[i]->sampler) all[i]->sampler->truncate(counted[i]);
  };
  try {
    while (!going.empty()) {
      tokens_.clear(), positions_.clear(), sequences_.clear(), want_.clear();
      for (const Ask* ask : going) add(*ask);
      if (!tokens_.empty()) forward(cancel), ++passes;
      std::erase_if(going, [](const Ask* ask) { return ask->count == 0; });
      std::vector<uint8_t> goes_on(going.size());
      engine_.for_each(static_cast<uint32_t>(going.size()),
                       [&](uint32_t i) { goes_on[i] = pick(*going[i], logits_.data() + i * vocabulary_); });
      for (size_t i = going.size(); i-- > 0;)
        if (!goes_on[i]) going.erase(going.begin() + static_cast<std::ptrdiff_t>(i));
    }
  } catch (...) {
    forget();
    throw;
  }
  forget();
  return passes;
}

// What was not read yet of an answer and of its draft tokens.
void DraftModel::add(const Ask& ask) {
  const size_t size = ask.tokens.size() + ask.drafts.size();
  for (size_t at = length(ask.sequence); at < size; ++at) {
    tokens_.push_back(at < ask.tokens.size() ? ask.tokens[at] : ask.drafts[at - ask.tokens.size()]);
    positions_.push_back(static_cast<int32_t>(at));
    sequences_.push_back(static_cast<int32_t>(ask.sequence));
    want_.push_back(at + 1 == size && ask.count > 0 ? kWantLogits : 0);
  }
}

// Rows of logits as long as the target's: models of one vocabulary are padded differently.
void DraftModel::forward(const CancelFlag& cancel) {
  const auto rows = static_cast<size_t>(std::count(want_.begin(), want_.end(), kWantLogits));
  const size_t own = limits_.vocabulary;
  logits_.resize(rows * std::max(own, vocabulary_));
  engine_.forward({tokens_.data(), positions_.data(), sequences_.data(), want_.data(), tokens_.size()}, logits_.data(), nullptr,
                  &cancel);
  if (own > vocabulary_)
    for (size_t i = 1; i < rows; ++i) std::copy_n(logits_.data() + i * own, vocabulary_, logits_.data() + i * vocabulary_);
  if (own < vocabulary_)
    for (size_t i = rows; i-- > 0;) {
      float* row = logits_.data() + i * vocabulary_;
      std::copy_backward(logits_.data() + i * own, logits_.data() + (i + 1) * own, row + own);
      std::fill(row + own, row + vocabulary_, -std::numeric_limits<float>::infinity());
    }
}

// False when that was the last one.
bool DraftModel::pick(Ask& ask, const float* logits) const {
  try {
    const int32_t token = ask.sampler->sample(logits);
    if (static_cast<uint32_t>(token) >= limits_.vocabulary) return false;
    ask.drafts.push_back(token);
    ask.sampler->accept(token, true);
    return ask.drafts.size() < ask.count &&
           std::find(ask.stop_tokens.begin(), ask.stop_tokens.end(), token) == ask.stop_tokens.end();
  } catch (const std::exception&) {  // nothing that this model holds possible may be picked
    return false;
  }
}

}  // namespace q3e
