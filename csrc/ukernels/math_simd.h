// math_scalar.h for 16 lanes: the same operations in the same order.
#pragma once

#include <cstdint>

namespace q3e {
namespace {

template <class S>
float dot_simd(const float* a, const float* b, uint32_t n) {
  typename S::F lanes = S::zero();
  for (uint32_t i = 0; i < n; i += 16) lanes = S::fma(S::load(a + i), S::load(b + i), lanes);
  return S::fold(lanes);
}

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
typename S::F sigmoid_simd(typename S::F x) {
  return S::div(S::set1(1.0f), S::add(S::set1(1.0f), exp_simd<S>(S::negate(x))));
}

template <class S>
typename S::F silu_simd(typename S::F x) {
  return S::div(x, S::add(S::set1(1.0f), exp_simd<S>(S::negate(x))));
}

template <class S>
typename S::F softplus_simd(typename S::F x) {
  const typename S::F y = exp_simd<S>(S::negate(S::abs(x))), s = S::div(y, S::add(y, S::set1(2.0f))), z = S::mul(s, s);
  typename S::F p = S::set1(1.0f / 15);
  p = S::fma(p, z, S::set1(1.0f / 13));
  p = S::fma(p, z, S::set1(1.0f / 11));
  p = S::fma(p, z, S::set1(1.0f / 9));
  p = S::fma(p, z, S::set1(1.0f / 7));
  p = S::fma(p, z, S::set1(1.0f / 5));
  p = S::fma(p, z, S::set1(1.0f / 3));
  p = S::fma(p, z, S::set1(1.0f));
  return S::fma(p, S::mul(S::set1(2.0f), s), S::max(x, S::zero()));
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
