#include "probes/limits.h"

namespace q3e {

const Limits& limits(Isa isa) {
  switch (isa) {
#if defined(__x86_64__)
    case Isa::avx2:
      return kAvx2Limits;
    case Isa::avxvnni:
      return kAvxVnniLimits;
    case Isa::avx512:
      return kAvx512Limits;
    case Isa::amx:
      return kAmxLimits;
#elif defined(__aarch64__)
    case Isa::neon:
      return kNeonLimits;
#endif
    default:
      return kScalarLimits;
  }
}

}  // namespace q3e
