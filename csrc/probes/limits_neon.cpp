#include "probes/limits_simd.h"
#include "ukernels/simd_neon.h"

namespace q3e {

constinit const Limits kNeonLimits = {stream_simd<Neon>, dot_chain_simd<Neon>};

}  // namespace q3e
