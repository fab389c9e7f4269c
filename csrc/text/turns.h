// Where the turns of a conversation begin, as far as tokens tell.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace q3e {

class Bpe;

// Lengths of a prompt that later ones are likely to have in common with it, ascending: up to its second turn, so all of a system
// message, with which other conversations begin as well; and up to the answer's turn, as the next prompt has all before it, but
// thoughts no more. Turns begin with the last control token of the prompt; none has none. In O(tokens).
std::vector<uint32_t> turn_boundaries(const Bpe& bpe, std::span<const int32_t> tokens);

}  // namespace q3e
