#include "probes/limits_simd.h"
#include "ukernels/simd_avxvnni.h"

namespace q3e {

constinit const Limits limits_avxvnni = {stream_simd<AvxVnni>, dot_chain_simd<AvxVnni>};

}  // namespace q3e
