// Which experts a token takes, and the sum of what they give.
#include "ukernels/kernels.h"
#include "ukernels/math_scalar.h"

namespace q3e {

void route_scalar(const float* logits, uint32_t experts, uint32_t top, bool normalize, uint32_t* chosen, float* weights) {
  float shares[kMaxExperts], lanes[16] = {};
  float most = logits[0];
  for (uint32_t e = 1; e < experts; ++e) most = max_f32(logits[e], most);
  for (uint32_t e = 0; e < experts; ++e) {
    shares[e] = exp_f32(logits[e] - most);
    lanes[e % 16] += shares[e];
  }
  const float sum = fold_lanes(lanes);
  for (uint32_t e = 0; e < experts; ++e) shares[e] /= sum;

  bool taken[kMaxExperts] = {};
  float total = 0;
  for (uint32_t r = 0; r < top; ++r) {
    uint32_t best = experts;
    for (uint32_t e = 0; e < experts; ++e)
      if (!taken[e] && (best == experts || shares[e] > shares[best])) best = e;
    taken[best] = true;
    chosen[r] = best;
    weights[r] = shares[best];
    total += shares[best];
  }
  if (normalize)
    for (uint32_t r = 0; r < top; ++r) weights[r] /= total;
}

void add_weighted_scalar(const float* const* rows, const float* weights, uint32_t count, uint32_t n, float* x) {
  for (uint32_t i = 0; i < n; ++i) {
    float sum = 0;
    for (uint32_t r = 0; r < count; ++r) sum = fma_f32(weights[r], rows[r][i], sum);
    x[i] += sum;
  }
}

}  // namespace q3e
