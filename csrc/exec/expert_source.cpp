#include "exec/expert_source.h"

namespace q3e {
namespace {

MatrixView rows_of(const MatrixView& all, uint32_t expert, uint32_t experts) {
  MatrixView one = all;
  one.rows = all.rows / experts;
  one.data = all.data + size_t{expert} * one.panels() * all.layout.bytes;
  return one;
}

}  // namespace

ExpertWeights ExpertPool::expert(uint32_t index) const {
  return {rows_of(gate_up, index, experts), rows_of(down, index, experts)};
}

uint32_t ResidentExperts::begin(uint32_t pool, std::span<uint32_t> experts) noexcept {
  pool_ = pool;
  experts_ = experts;
  return static_cast<uint32_t>(experts.size());
}

}  // namespace q3e
