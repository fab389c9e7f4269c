#include "models/expert_source.h"

namespace q3e {

MatrixView expert_of(const MatrixView& all, uint32_t expert, uint32_t experts) {
  MatrixView one = all;
  one.rows = all.rows / experts;
  one.data = all.data + size_t{expert} * one.panels() * all.layout.bytes;
  return one;
}

ResidentExperts::ResidentExperts(const ModelConfig& config, const Weights& weights) : config_(config), weights_(weights) {}

uint32_t ResidentExperts::begin(uint32_t layer, std::span<uint32_t> experts) noexcept {
  layer_ = layer;
  experts_ = experts;
  return static_cast<uint32_t>(experts.size());
}

ExpertWeights ResidentExperts::get(uint32_t index) noexcept {
  const LayerWeights& l = weights_.layers[layer_];
  return {expert_of(l.gate_up_experts, experts_[index], config_.experts),
          expert_of(l.down_experts, experts_[index], config_.experts)};
}

}  // namespace q3e
