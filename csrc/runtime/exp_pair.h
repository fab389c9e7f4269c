// e^x without a library: the same bits on every machine, two at a time in vectors that every processor has, as compilers leave
// such loops alone.
#pragma once

#include <bit>
#include <cstdint>

namespace q3e {

using Pair = double __attribute__((vector_size(16)));
using PairBits = uint64_t __attribute__((vector_size(16)));

inline Pair both(double x) { return Pair{x, x}; }

// For x <= 0, within 1e-15 of itself; below -700, and of NaN, e^-700, which a sum that holds a 1 does not notice. Not the float32
// one of math_scalar.h: without fma instructions that is a call of the library for each.
inline Pair exp_f64(Pair x) {
  const Pair round = both(6755399441055744.0);  // 1.5 * 2^52: adding it leaves no fraction bits, and n in the lowest ones
  x = x > both(-700) ? x : both(-700);
  const Pair shifted = x * both(1.4426950408889634) + round, n = shifted - round;
  const Pair r = (x - n * both(6.93147180369123816490e-01)) - n * both(1.90821492927058770002e-10);  // ln 2, in two parts
  Pair p = both(1.0 / 479001600);
  for (const double coefficient : {1.0 / 39916800, 1.0 / 3628800, 1.0 / 362880, 1.0 / 40320, 1.0 / 5040, 1.0 / 720, 1.0 / 120,
                                   1.0 / 24, 1.0 / 6, 0.5, 1.0, 1.0})
    p = p * r + both(coefficient);
  const PairBits exponent = (std::bit_cast<PairBits>(shifted) << 52) + (uint64_t{1023} << 52);
  return p * std::bit_cast<Pair>(exponent);
}

}  // namespace q3e
