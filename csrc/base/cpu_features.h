// Which kernel tiers this machine can run, and how many cores it may use.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace q3e {

// In ascending speed, x86's, then Arm's, then RISC-V's. A new tier gets its place here, its options in tiers.cmake and its row in
// ukernels/kernels.cpp.
enum class Isa : int { scalar, avx2, avxvnni, avx512, amx, neon, dotprod, i8mm, rvv };

inline constexpr Isa kAllIsas[] = {Isa::scalar, Isa::avx2,    Isa::avxvnni, Isa::avx512, Isa::amx,
                                   Isa::neon,   Isa::dotprod, Isa::i8mm,    Isa::rvv};

const char* isa_name(Isa isa);

// Throws Error(bad_argument) for a name that is unknown or a tier that this machine lacks.
Isa parse_isa(std::string_view name);

// The processor has it, as does this build, and the operating system saves its registers; for AMX it is also asked to let this
// process use them.
bool isa_supported(Isa isa);

std::vector<Isa> supported_isas();

// The fastest supported tier, or the one that QWEN3EDGE_ISA names. Throws as parse_isa does.
Isa best_isa();

// min(affinity mask, whole cores of the smallest CPU quota of the control groups above the process), at least 1. Visible cores
// are not usable cores. root: where the file system begins, for tests.
int usable_cores(const std::string& root = "");

}  // namespace q3e
