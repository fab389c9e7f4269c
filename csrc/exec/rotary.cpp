#include "exec/rotary.h"

#include <cmath>

namespace q3e {
namespace {

// Polynomials of fdlibm (Sun Microsystems, 1993) for |x| <= pi/4.
double sin_kernel(double x) {
  const double z = x * x;
  const double r = 8.33333333332248946124e-03 +
                   z * (-1.98412698298579493134e-04 +
                        z * (2.75573137070700676789e-06 + z * (-2.50507602534068634195e-08 + z * 1.58969099521155010221e-10)));
  return x + (z * x) * (-1.66666666666666324348e-01 + z * r);
}

double cos_kernel(double x) {
  const double z = x * x;
  const double r =
      4.16666666666666019037e-02 +
      z * (-1.38888888888741095749e-03 +
           z * (2.48015872894767294178e-05 +
                z * (-2.75573143513906633035e-07 + z * (2.08757232129817482790e-09 + z * -1.13596475577881948265e-11))));
  return 1.0 - (0.5 * z - z * z * r);
}

// pi/2 in pieces of 33 bits: n times a piece is exact for positions below 2^20 (and the same everywhere above).
constexpr double kTwoOverPi = 6.36619772367581382433e-01;
constexpr double kPio2[3] = {1.57079632673412561417e+00, 6.07710050630396597660e-11, 2.02226624879595063154e-21};

}  // namespace

void fill_cos_sin(uint32_t position, const float* frequencies, uint32_t half, float factor, float* cos_sin) {
  for (uint32_t i = 0; i < half; ++i) {
    const double x = static_cast<double>(static_cast<float>(position) * frequencies[i]);
    const double n = std::floor(x * kTwoOverPi + 0.5);
    const double r = ((x - n * kPio2[0]) - n * kPio2[1]) - n * kPio2[2];
    const double s = sin_kernel(r), c = cos_kernel(r);
    const double turned[4] = {c, -s, -c, s};  // the cosine in each quarter; the sine is the one before
    const auto quarter = static_cast<uint64_t>(static_cast<int64_t>(n));
    cos_sin[i] = static_cast<float>(factor * turned[quarter & 3]);
    cos_sin[half + i] = static_cast<float>(factor * turned[(quarter - 1) & 3]);
  }
}

}  // namespace q3e
