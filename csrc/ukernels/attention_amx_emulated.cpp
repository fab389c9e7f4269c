#include "ukernels/attention_tiles.h"
#include "ukernels/kernel_tiers.h"

namespace q3e {

void attention_amx_emulated(const AttentionTask& task) {
  if (!attention_tiles<EmulatedTiles>(task)) attention_avx512(task);
}

}  // namespace q3e
