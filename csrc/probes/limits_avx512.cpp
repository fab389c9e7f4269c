#include "probes/limits_simd.h"
#include "ukernels/simd_avx512.h"

namespace q3e {

constinit const Limits limits_avx512 = {stream_simd<Avx512>, dot_chain_simd<Avx512>};

}  // namespace q3e
