#include <algorithm>
#include <cmath>
#include <vector>

#include "base/memory_region.h"
#include "exec/thread_pool.h"
#include "probes/probes.h"
#include "probes/stopwatch.h"

namespace q3e {

double time_delta_rule(Isa isa, uint32_t key_heads, uint32_t heads, uint32_t size, uint32_t tokens, uint32_t layers, int threads,
                       double seconds) {
  DeltaFn* const rule = kernel_table(isa).delta_rule;
  const size_t keys = size_t{key_heads} * size, stride = 2 * keys + size_t{heads} * size, head = size_t{size} * size;
  const MemoryRegion states(layers * heads * head * sizeof(float), "states of a delta net");
  // Queries and keys of length 1, so that states stay as large as values, however long it runs.
  std::vector<float> rows(tokens * stride, 1.0f), gates(size_t{tokens} * heads, 0.5f);
  for (uint32_t t = 0; t < tokens; ++t)
    std::fill_n(rows.begin() + static_cast<std::ptrdiff_t>(t * stride), 2 * keys, 1.0f / std::sqrt(static_cast<float>(size)));
  ThreadPool pool(threads);
  const uint32_t parts = size / kDeltaColumns;
  const auto step = [&] {
    pool.run([&](Worker& w) {
      for (uint32_t layer = 0; layer < layers; ++layer)
        w.for_each(heads * parts, [&](uint32_t item) {
          const uint32_t h = item / parts, column = item % parts * kDeltaColumns;
          float* state = reinterpret_cast<float*>(states.data()) + (size_t{layer} * heads + h) * head + size_t{column} * size;
          const float* q = rows.data() + size_t{h % key_heads} * size;
          rule({state, q, q + keys, rows.data() + 2 * keys + size_t{h} * size + column, stride, gates.data() + h,
                gates.data() + h, heads, tokens, size, kDeltaColumns});
        });
    });
  };
  step();
  return time_calls(seconds, step) / layers;
}

}  // namespace q3e
