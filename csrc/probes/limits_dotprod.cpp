#include "probes/limits_simd.h"
#include "ukernels/simd_dotprod.h"

namespace q3e {

constinit const Limits limits_dotprod = {stream_simd<DotProd>, dot_chain_simd<DotProd>};

}  // namespace q3e
