#include "text/token_names.h"

#include <algorithm>

#include "text/utf8.h"

namespace q3e {
namespace {

bool is_tag(std::string_view name) {
  const auto within = [&](char open, char close) { return name.front() == open && name.back() == close; };
  return name.size() > 2 && (within('<', '>') || within('[', ']'));
}

}  // namespace

TokenNames::TokenNames(std::span<const Bpe::Added> added) {
  names_.reserve(added.size());
  for (const Bpe::Added& token : added) {
    const NameKinds kind = token.control ? kControlNames : is_tag(token.text) ? kTagNames : kWordNames;
    names_.push_back({token.text, token.id, kind});
    first_bytes_[static_cast<uint8_t>(token.text.front())] |= kind;
    if (kind & kMarkNames) longest_mark_ = std::max(longest_mark_, token.text.size());
  }
  std::sort(names_.begin(), names_.end(), [](const Name& a, const Name& b) { return a.text < b.text; });
}

std::optional<TokenNames::Found> TokenNames::find(std::string_view text, size_t from, NameKinds kinds) const {
  for (size_t at = from; at < text.size(); ++at) {
    if (!(first_bytes_[static_cast<uint8_t>(text[at])] & kinds)) continue;
    if (const Name* const name = longest(text.substr(at), kinds)) return Found{at, name->text, name->id};
  }
  return std::nullopt;
}

// Byte by byte, among the names that begin as the text does.
const TokenNames::Name* TokenNames::longest(std::string_view text, NameKinds kinds) const {
  const Name* best = nullptr;
  auto low = names_.begin(), high = names_.end();
  for (size_t depth = 0; low != high; ++depth) {
    if (low->text.size() == depth) {
      if (low->kind & kinds) best = &*low;
      if (++low == high) break;
    }
    if (depth == text.size()) break;
    const auto wanted = static_cast<uint8_t>(text[depth]);
    const auto byte = [depth](const Name& name) { return static_cast<uint8_t>(name.text[depth]); };
    low = std::lower_bound(low, high, wanted, [&](const Name& name, uint8_t sought) { return byte(name) < sought; });
    high = std::upper_bound(low, high, wanted, [&](uint8_t sought, const Name& name) { return sought < byte(name); });
  }
  return best;
}

bool TokenNames::begins_mark(std::string_view text) const {
  auto name = std::upper_bound(names_.begin(), names_.end(), text,
                               [](std::string_view sought, const Name& n) { return sought < n.text; });
  for (; name != names_.end() && name->text.starts_with(text); ++name)
    if (name->kind & kMarkNames) return true;
  return false;
}

std::vector<uint32_t> TokenNames::ids(NameKinds kinds) const {
  std::vector<uint32_t> found;
  for (const Name& name : names_)
    if (name.kind & kinds) found.push_back(name.id);
  std::sort(found.begin(), found.end());
  return found;
}

}  // namespace q3e
