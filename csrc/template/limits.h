// What a rendering may take; the same as in qwen3edge/templates/budget.py.
#pragma once

#include <cstdint>

namespace q3e::chat {

inline constexpr int64_t kMostSteps = 300'000;                    // loop iterations and macro calls; 10,000 messages take 20,000
inline constexpr int64_t kMacroSteps = 8;                         // a call takes the time of so many iterations
inline constexpr uint64_t kMostCharacters = 4 * 1024 * 1024;      // of the output, and of every text on the way
inline constexpr int64_t kMostWorkCharacters = 64 * 1024 * 1024;  // of all texts made; an item of a list counts as 32
inline constexpr uint64_t kMostItems = 100'000;                   // of every list that a template makes
inline constexpr uint32_t kMostDepth = 600;                       // of statements and expressions in one another, through macros
inline constexpr uintptr_t kMostStackBytes = 256 * 1024;          // that those take; some systems give a thread 512 KiB
inline constexpr uint32_t kMostValueDepth = 300;                  // of values in one another
inline constexpr uint32_t kMostTreeDepth = 200;                   // of a template's syntax tree
inline constexpr uint32_t kMostNodes = 100'000;                   // of it
inline constexpr uint64_t kMostTreeBytes = 4 * 1024 * 1024;

}  // namespace q3e::chat
