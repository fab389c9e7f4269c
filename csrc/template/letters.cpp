#include "template/letters.h"

#include <algorithm>
#include <iterator>

#include "template/characters.h"
#include "template/failure.h"
#include "template/letter_tables.h"

namespace q3e::chat {
namespace {

constexpr uint32_t kCapitalSigma = 0x3a3;

template <class Runs, class Expansions>
void append_changed(uint32_t character, const Runs& runs, const Expansions& expansions, std::string& out) {
  const auto run = std::partition_point(std::begin(runs), std::end(runs), [&](const CaseRun& r) { return r.last < character; });
  if (run != std::end(runs) && run->first <= character && (character - run->first) % run->step == 0)
    return append_character(static_cast<uint32_t>(static_cast<int32_t>(character) + run->difference), out);
  for (const CaseExpansion& expansion : expansions) {
    if (expansion.character != character) continue;
    for (const uint32_t after : expansion.after)
      if (after != 0) append_character(after, out);
    return;
  }
  append_character(character, out);
}

template <class Runs, class Expansions>
std::string changed(std::string_view text, const Runs& runs, const Expansions& expansions, char first, int difference) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const char c = text[at];
    if (static_cast<uint8_t>(c) < 0x80) {
      out += c >= first && c < first + 26 ? static_cast<char>(c + difference) : c;
      ++at;
    } else {
      append_changed(read_character(text, at), runs, expansions, out);
    }
  }
  return out;
}

}  // namespace

std::string upper(std::string_view text) { return changed(text, kUpperRuns, kUpperExpansions, 'a', 'A' - 'a'); }

std::string lower(std::string_view text) {
  std::string sigma;
  append_character(kCapitalSigma, sigma);
  if (text.find(sigma) != text.npos) beyond("the small letter of a capital sigma");
  return changed(text, kLowerRuns, kLowerExpansions, 'A', 'a' - 'A');
}

bool is_printable(uint32_t character) {
  const auto range = std::partition_point(std::begin(kUnprintable), std::end(kUnprintable),
                                          [&](const CharacterRange& r) { return r.last < character; });
  return range == std::end(kUnprintable) || character < range->first;
}

}  // namespace q3e::chat
