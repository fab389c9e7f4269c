#include "exec/observer.h"

#include <vector>

#include "ukernels/kernels.h"

namespace q3e {

void show_activations(Observer& observer, const char* tensor, int32_t layer, int32_t expert, const Activations& a) {
  if (a.block == 0) return observer.see({tensor, layer, expert, a.tokens, a.columns, a.values});
  std::vector<float> values;
  try {
    values.resize(size_t{a.tokens} * a.columns);  // the one step that allocates, and never outside calibration
  } catch (...) {                                 // would end the process on a thread of the engine
    return observer.fail(std::current_exception());
  }
  for (uint32_t t = 0; t < a.tokens; ++t)
    for (uint32_t k = 0; k < a.columns; ++k)
      values[size_t{t} * a.columns + k] =
          static_cast<float>(a.quants[size_t{t} * a.stride + k]) * a.scales[size_t{t} * a.blocks() + k / a.block];
  observer.see({tensor, layer, expert, a.tokens, a.columns, values.data()});
}

}  // namespace q3e
