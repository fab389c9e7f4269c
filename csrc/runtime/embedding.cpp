#include "runtime/embedding.h"

#include <algorithm>
#include <cmath>

namespace q3e {
namespace {

constexpr double kLeastNorm = 1e-12;  // as torch's normalize: a state of zeros stays one

}  // namespace

std::vector<double> normalized(std::span<const float> state, size_t dimensions) {
  const auto kept = state.first(std::min(dimensions, state.size()));
  // Squares of float32 are exact in double; what a sum loses is carried along (Knuth's two-sum).
  double sum = 0, lost = 0;
  for (const float value : kept) {
    const double square = double{value} * value, next = sum + square, added = next - sum;
    lost += (sum - (next - added)) + (square - added);
    sum = next;
  }
  const double norm = std::max(std::sqrt(sum + lost), kLeastNorm);
  std::vector<double> out;
  for (const float value : kept) out.push_back(value / norm);
  return out;
}

}  // namespace q3e
