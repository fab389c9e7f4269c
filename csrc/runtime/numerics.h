// What a saved state depends on besides the model.
#pragma once

#include <cstdint>

namespace q3e {

// Raised whenever any bit of a logit changes: what was computed before is then not what would be computed now.
constexpr uint32_t kNumericsVersion = 2;

}  // namespace q3e
