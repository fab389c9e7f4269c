#include "models/qwen3_5.h"

#include <string>

#include "base/block_format.h"
#include "models/delta_net.h"
#include "models/dense.h"
#include "models/gated_attention.h"
#include "models/keys.h"
#include "models/shared_experts.h"

namespace q3e {
namespace {

void read_delta_net(const ModelFile& file, ModelConfig& c) {
  c.delta_key_heads = read_number(file, "ssm.group_count", 1, ModelLimits::delta_heads);
  c.delta_value_heads = read_number(file, "ssm.time_step_rank", 1, ModelLimits::delta_heads);
  c.delta_head_size = read_number(file, "ssm.state_size", kDeltaColumns, ModelLimits::head_size);
  read_number(file, "ssm.conv_kernel", kConvTaps, kConvTaps);
  if (c.delta_value_heads % c.delta_key_heads != 0)
    file.fail(Status::bad_file, "expected ssm.group_count to divide ssm.time_step_rank, found " +
                                    std::to_string(c.delta_key_heads) + " and " + std::to_string(c.delta_value_heads));
}

// x += delta net or attention, then x += feed-forward, in each layer. config: what the feed-forward part has of it.
template <class FeedForward>
Model hybrid(const ModelFile& file, ModelConfig config) {
  read_common(file, config);
  read_attention(file, config);
  if (!config.qk_norm || config.qkv_bias)
    file.fail(Status::bad_file, "expected attention.qk_norm without attention.qkv_bias, as Qwen3.5 has them");
  read_delta_net(file, config);
  config.rotary_size = read_number(file, "rope.dimension_count", 2, config.head_size);
  const uint32_t interval = read_number(file, "full_attention_interval", 1, ModelLimits::layers);
  Model model;
  model.config = config;
  add_outer(model, config.rotated());
  const Block *delta_net = model.add_kind<DeltaNet>(config), *attention = model.add_kind<GatedAttention>(config),
              *feed_forward = model.add_kind<FeedForward>(config);
  for (uint32_t layer = 0; layer < config.layers; ++layer) {
    model.blocks.push_back({(layer + 1) % interval == 0 ? attention : delta_net, layer});
    model.blocks.push_back({feed_forward, layer});
  }
  return model;
}

}  // namespace

Model build_qwen3_5(const ModelFile& file) {
  ModelConfig config;
  config.ffn_size = read_number(file, "feed_forward_length", kColumnUnit, ModelLimits::width);
  return hybrid<Dense>(file, config);
}

Model build_qwen3_5_moe(const ModelFile& file) {
  ModelConfig config;
  read_experts(file, config);
  config.shared_ffn_size = read_number(file, "expert_shared_feed_forward_length", kColumnUnit, ModelLimits::width);
  return hybrid<SharedExperts>(file, config);
}

}  // namespace q3e
