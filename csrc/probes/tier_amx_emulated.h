#pragma once

#include "ukernels/kernels.h"

namespace q3e {

// The amx tier on tiles of plain C++, for the tests of machines that have AVX-512 alone. x86-64 only.
extern const KernelTable tier_amx_emulated;

}  // namespace q3e
