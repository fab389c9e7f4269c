#include "models/qwen3.h"

#include "base/block_format.h"
#include "models/attention.h"
#include "models/dense.h"
#include "models/experts.h"
#include "models/keys.h"

namespace q3e {
namespace {

// x += attention, then x += feed-forward, in each layer. config: what the feed-forward part has of it.
template <class FeedForward>
Model transformer(const ModelFile& file, ModelConfig config) {
  read_common(file, config);
  read_attention(file, config);
  Model model;
  model.config = config;
  add_outer(model, config.head_size);
  const Block *attention = model.add_kind<Attention>(config), *feed_forward = model.add_kind<FeedForward>(config);
  for (uint32_t layer = 0; layer < config.layers; ++layer) {
    model.blocks.push_back({attention, layer});
    model.blocks.push_back({feed_forward, layer});
  }
  return model;
}

}  // namespace

Model build_qwen3(const ModelFile& file) {
  ModelConfig config;
  config.ffn_size = read_number(file, "feed_forward_length", kColumnUnit, ModelLimits::width);
  return transformer<Dense>(file, config);
}

Model build_qwen3_moe(const ModelFile& file) {
  ModelConfig config;
  read_experts(file, config);
  return transformer<Experts>(file, config);
}

}  // namespace q3e
