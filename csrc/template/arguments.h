// What a call passes.
#pragma once

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "template/failure.h"
#include "template/value.h"

namespace q3e::chat {

struct Arguments {
  std::vector<Value> places;
  std::vector<std::pair<std::string, Value>> named;

  // In the order of these names, absent where nothing is passed. Throws Failure for others, more, fewer than `needed`, or one
  // that is passed twice.
  template <size_t N>
  void take(const std::string& function, const char* const (&names)[N], Value (&out)[N], size_t needed) const {
    if (places.size() > N)
      fail(function + "() takes at most " + std::to_string(N) + " arguments (" + std::to_string(places.size()) + " given)");
    for (size_t i = 0; i < places.size(); ++i) out[i] = places[i];
    for (const auto& [name, value] : named) {
      size_t i = 0;
      while (i < N && name != names[i]) ++i;
      if (i == N) fail(function + "() got an unexpected keyword argument '" + name + "'");
      if (!out[i].is(Kind::absent)) fail(function + "() got multiple values for argument '" + name + "'");
      out[i] = value;
    }
    for (size_t i = 0; i < needed; ++i)
      if (out[i].is(Kind::absent)) fail(function + "() takes at least " + std::to_string(needed) + " arguments");
  }
  void take_none(const std::string& function) const {
    if (!places.empty() || !named.empty()) fail(function + "() takes no arguments");
  }
};

}  // namespace q3e::chat
