// Drafts without a model: what followed the same tokens before, in the prompt or in the answer (prompt lookup decoding: Saxena
// 2023; Yang et al. 2023). Answers that quote, edit or fill in are long copies of what was there.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace q3e {

class PromptLookup {
 public:
  static constexpr uint32_t kShortest = 3;  // tokens that must agree
  static constexpr uint32_t kLongest = 32;  // that are compared
  static constexpr uint32_t kPlaces = 16;   // that are looked at, the latest first

  // context: tokens that there will be, at most.
  explicit PromptLookup(uint32_t context);
  // In bytes.
  static uint64_t memory(uint32_t context);

  struct Found {
    uint32_t begin = 0;   // of what followed, a position of the tokens
    uint32_t agreed = 0;  // tokens before it that are as the last ones; 0: nothing was found
  };
  // Where the last tokens stood before: the place where most of them agree, the latest of several. tokens: those of the last
  // call, and what was appended since.
  Found find(std::span<const int32_t> tokens);

 private:
  uint32_t& last(const int32_t* tokens);

  // Places are positions, of what followed; 0 is none. Tokens that share a hash by accident are told apart when they are
  // compared.
  std::vector<uint32_t> last_;    // by a hash of kShortest tokens, a power of two: where they stood last
  std::vector<uint32_t> before_;  // of each place: the one before it
};

}  // namespace q3e
