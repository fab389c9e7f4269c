#include "runtime/sampling_defaults.h"

#include <string>

#include "base/error.h"

namespace q3e {

SamplingParameters advised_sampling(bool thinking) {
  SamplingParameters p;
  p.temperature = thinking ? 0.6f : 0.7f;
  p.top_k = 20;
  p.top_p = thinking ? 0.95f : 0.8f;
  return p;
}

SamplingParameters stored_sampling(const ModelFile& file, bool thinking) {
  const std::string prefix = thinking ? "qwen3edge.sampling.thinking." : "qwen3edge.sampling.direct.";
  const SamplingParameters advised = advised_sampling(thinking);
  SamplingParameters p = advised;
  const auto take = [&](const char* name, float& value) {
    if (file.find_key(prefix + name)) value = file.f32(prefix + name);
  };
  take("temperature", p.temperature);
  take("top_p", p.top_p);
  take("min_p", p.min_p);
  take("presence_penalty", p.presence_penalty);
  take("frequency_penalty", p.frequency_penalty);
  take("repetition_penalty", p.repetition_penalty);
  if (file.find_key(prefix + "top_k")) p.top_k = file.u32(prefix + "top_k");
  try {
    require_in_range(p);
  } catch (const Error& e) {
    file.fail(Status::bad_file, prefix + e.what());
  }
  if (thinking && p.temperature == 0) p.temperature = advised.temperature;
  return p;
}

}  // namespace q3e
