#include "runtime/embedding.h"

#include <algorithm>
#include <cmath>

namespace q3e {
namespace {

constexpr double kLeastNorm = 1e-12;  // as torch's normalize: a state of zeros stays one

// What a sum loses is carried along (Knuth's two-sum).
class CarriedSum {
 public:
  void add(double value) {
    const double next = sum_ + value, added = next - sum_;
    lost_ += (sum_ - (next - added)) + (value - added);
    sum_ = next;
  }
  double value() const { return sum_ + lost_; }

 private:
  double sum_ = 0, lost_ = 0;
};

}  // namespace

std::vector<double> normalized(std::span<const float> state, size_t dimensions) {
  const auto kept = state.first(std::min(dimensions, state.size()));
  CarriedSum sum;
  for (const float value : kept) sum.add(double{value} * value);  // exact, of float32
  const double norm = std::max(std::sqrt(sum.value()), kLeastNorm);
  std::vector<double> out;
  for (const float value : kept) out.push_back(value / norm);
  return out;
}

double likelihood(std::span<const float> state, std::span<const float> first, std::span<const float> second) {
  CarriedSum difference;
  for (size_t i = 0; i < state.size(); ++i) difference.add(double{state[i]} * (double{first[i]} - second[i]));
  const double likely = 1 / (1 + std::exp(-std::abs(difference.value())));
  return difference.value() >= 0 ? likely : 1 - likely;
}

}  // namespace q3e
