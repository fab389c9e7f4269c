#include "probes/limits_simd.h"
#include "ukernels/simd_rvv.h"

namespace q3e {

constinit const Limits limits_rvv = {stream_simd<Rvv>, dot_chain_simd<Rvv>};

}  // namespace q3e
