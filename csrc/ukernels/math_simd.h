// math_scalar.h for 16 lanes: the same operations in the same order.
#pragma once

#include <cstdint>

namespace q3e {
namespace {

template <class S>
typename S::F exp_simd(typename S::F x) {
  x = S::min(S::max(x, S::set1(-87.3f)), S::set1(88.0f));
  const typename S::F n = S::round(S::mul(x, S::set1(1.44269504088896341f)));
  typename S::F r = S::fma(n, S::set1(-0.693359375f), x);
  r = S::fma(n, S::set1(2.12194440e-4f), r);
  typename S::F p = S::set1(1.9875691500e-4f);
  p = S::fma(p, r, S::set1(1.3981999507e-3f));
  p = S::fma(p, r, S::set1(8.3334519073e-3f));
  p = S::fma(p, r, S::set1(4.1665795894e-2f));
  p = S::fma(p, r, S::set1(1.6666665459e-1f));
  p = S::fma(p, r, S::set1(5.0000001201e-1f));
  return S::mul(S::add(S::fma(p, S::mul(r, r), r), S::set1(1.0f)), S::power_of_two(n));
}

template <class S>
typename S::F exp2_simd(typename S::F x) {
  x = S::max(x, S::set1(-80.0f));
  const typename S::F n = S::round(x), r = S::sub(x, n);
  typename S::F p = S::set1(1.326472731e-3f);
  p = S::fma(p, r, S::set1(9.671512991e-3f));
  p = S::fma(p, r, S::set1(5.550733581e-2f));
  p = S::fma(p, r, S::set1(2.402224243e-1f));
  p = S::fma(p, r, S::set1(6.931470037e-1f));
  p = S::fma(p, r, S::set1(1.0f));
  return S::times_power_of_two(p, n);
}

}  // namespace
}  // namespace q3e
