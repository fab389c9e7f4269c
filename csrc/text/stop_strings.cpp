#include "text/stop_strings.h"

#include <algorithm>
#include <utility>

#include "base/error.h"

namespace q3e {

StopStrings::Stop::Stop(std::string stop) : text(std::move(stop)), shorter(text.size()) {
  for (size_t i = 1; i < text.size(); ++i) {
    next(text[i]);
    shorter[i] = matched;
  }
  matched = 0;
}

bool StopStrings::Stop::next(char c) {
  while (matched > 0 && text[matched] != c) matched = shorter[matched - 1];
  matched += text[matched] == c;
  return matched == text.size();
}

StopStrings::StopStrings(std::vector<std::string> stops) {
  stops_.reserve(stops.size());
  for (std::string& stop : stops) {
    if (stop.empty()) throw Error(Status::bad_argument, "expected stop strings of at least one character, found an empty one");
    stops_.emplace_back(std::move(stop));
  }
}

void StopStrings::push(std::string_view text, std::string& out) {
  if (stopped()) return;
  for (size_t i = 0; i < text.size() && !stops_.empty(); ++i) {
    for (size_t which = 0; which < stops_.size(); ++which)
      if (stops_[which].next(text[i]) && (!found_ || stops_[which].text.size() > found()->size())) found_ = which;
    if (stopped()) {
      held_.append(text, 0, i + 1);
      out.append(held_, 0, held_.size() - found()->size());
      held_.clear();
      return;
    }
  }
  held_ += text;
  size_t keep = 0;
  for (const Stop& stop : stops_) keep = std::max<size_t>(keep, stop.matched);
  out.append(held_, 0, held_.size() - keep);
  held_.erase(0, held_.size() - keep);
}

void StopStrings::finish(std::string& out) {
  out += held_;
  held_.clear();
}

}  // namespace q3e
