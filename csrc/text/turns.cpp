#include "text/turns.h"

#include <algorithm>

#include "text/bpe.h"

namespace q3e {

std::vector<uint32_t> turn_boundaries(const Bpe& bpe, std::span<const int32_t> tokens) {
  const auto is_control = [&](int32_t token) { return bpe.is_control(static_cast<uint32_t>(token)); };
  const auto last = std::find_if(tokens.rbegin(), tokens.rend(), is_control).base();
  if (last == tokens.begin() || last - 1 == tokens.begin()) return {};
  const auto answer = last - 1;
  const auto first = std::find(tokens.begin(), answer, *answer);
  const auto second = first == answer ? answer : std::find(first + 1, answer, *answer);
  std::vector<uint32_t> found;
  for (const auto at : {second, answer}) found.push_back(static_cast<uint32_t>(at - tokens.begin()));
  found.erase(std::unique(found.begin(), found.end()), found.end());
  return found;
}

}  // namespace q3e
