#include "probes/limits_simd.h"
#include "ukernels/simd_neon.h"

namespace q3e {

constinit const Limits limits_neon = {stream_simd<Neon>, dot_chain_simd<Neon>};

}  // namespace q3e
