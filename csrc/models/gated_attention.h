// Attention whose output each head multiplies by a gate, sigmoid(g): the projection of a head's query has its gate behind it.
#pragma once

#include "models/attention.h"

namespace q3e {

class GatedAttention : public Attention {
 public:
  explicit GatedAttention(const ModelConfig& config) : Attention(config, true) {}
  const char* kind() const override { return "gated_attention"; }
};

}  // namespace q3e
