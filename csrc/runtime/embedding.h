// What a text's last state becomes: its embedding, or a choice between two tokens.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace q3e {

// Its first numbers, at most `dimensions`, divided by their length; of zeros zeros. The sum of their squares is exact before it
// is rounded, so that the result is the same everywhere.
std::vector<double> normalized(std::span<const float> state, size_t dimensions);

// The softmax of two logits: how likely the first is. first, second: [state] rows of a head. The same everywhere, as above.
double likelihood(std::span<const float> state, std::span<const float> first, std::span<const float> second);

}  // namespace q3e
