// Experts of which one is taken by every token, with a share of its own.
#pragma once

#include "models/experts.h"

namespace q3e {

class SharedExperts : public Experts {
 public:
  explicit SharedExperts(const ModelConfig& config) : Experts(config, config.shared_ffn_size) {}
  const char* kind() const override { return "shared_experts"; }
};

}  // namespace q3e
