// What a text's last state becomes as its embedding.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace q3e {

// Its first numbers, at most `dimensions`, divided by their length; of zeros zeros. The sum of their squares is exact before it
// is rounded, so that the result is the same everywhere.
std::vector<double> normalized(std::span<const float> state, size_t dimensions);

}  // namespace q3e
