// Stop strings in a stream: text is held back for as long as it may turn out to be the start of one.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace q3e {

// Passes text on up to the first stop string that is complete; it and what follows never come out.
class StopStrings {
 public:
  // stops: UTF-8. Throws Error(bad_argument) for an empty one.
  explicit StopStrings(std::vector<std::string> stops);

  // Appends what can be shown now of all text so far. text: whole characters. Of several stops that end at one place the longest
  // counts. In O(bytes * stops), whatever they are.
  void push(std::string_view text, std::string& out);

  // Appends what was held back and is no stop string after all.
  void finish(std::string& out);

  bool stopped() const { return found_.has_value(); }

  // The one that ended the text; null: none yet.
  const std::string* found() const { return found_ ? &stops_[*found_].text : nullptr; }

 private:
  // Knuth, Morris and Pratt's search.
  struct Stop {
    explicit Stop(std::string stop);
    bool next(char c);  // whether it is complete with this byte

    std::string text;
    std::vector<uint32_t> shorter;  // [bytes]: how much of the start is the end of the first i + 1 bytes, and not all of them
    uint32_t matched = 0;           // bytes of its start at the end of what came so far
  };

  std::vector<Stop> stops_;
  std::string held_;             // as long as the longest start of a stop
  std::optional<size_t> found_;  // of stops_
};

}  // namespace q3e
