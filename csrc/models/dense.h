// The feed-forward part of a dense layer: a gated linear unit with SiLU (Shazeer 2020).
#pragma once

#include "models/block.h"

namespace q3e {

class Dense : public Block {
 public:
  explicit Dense(const ModelConfig& config);

  const char* kind() const override { return "dense"; }
  size_t scratch_bytes(const ScratchRequest& request) const override { return size_t{request.tokens} * width_ * 4; }
  bool step(const Steps& steps, const BlockPlace& at) const override;

 private:
  uint32_t width_, norm_, gate_, up_, down_;
};

}  // namespace q3e
