#include "models/architectures.h"

#include <algorithm>
#include <string>

#include "base/error.h"
#include "models/qwen3.h"
#include "models/qwen3_5.h"
#include "models/tensors.h"

namespace q3e {
namespace {

void check_frequencies(const ModelFile& file) {
  const TensorView& t = file.tensor("rope.inverse_frequencies");
  for (uint32_t i = 0; i < t.columns; ++i) {
    const float f = t.as_vector()[i];
    if (!(f > 0.0f && f <= 1.0f))
      file.fail(Status::bad_file, "rope.inverse_frequencies[" + std::to_string(i) + "] is " + std::to_string(f) +
                                      ", expected a number above 0 and at most 1");
  }
}

std::string names() {
  std::string text;
  const std::vector<Architecture>& all = architectures();
  for (size_t i = 0; i < all.size(); ++i)
    text += std::string(i == 0 ? "" : i + 1 == all.size() ? " or " : ", ") + "'" + all[i].model_type + "'";
  return text;
}

}  // namespace

std::vector<Architecture>& architectures() {
  static std::vector<Architecture> all{{"qwen3", build_qwen3},
                                       {"qwen2", build_qwen3},
                                       {"qwen3_moe", build_qwen3_moe},
                                       {"qwen3_5", build_qwen3_5},
                                       {"qwen3_5_moe", build_qwen3_5_moe}};
  return all;
}

Model read_model(const ModelFile& file) {
  const std::string type(file.string("qwen3edge.model_type"));
  const auto at =
      std::find_if(architectures().begin(), architectures().end(), [&](const auto& a) { return type == a.model_type; });
  if (at == architectures().end())
    file.fail(Status::unsupported_model, "expected the model type " + names() + ", found " + quoted(type));
  Model model = at->build(file);
  model.config.model_type = type;
  check_tensors(file, model);
  check_frequencies(file);
  file.require_undamaged();
  return model;
}

}  // namespace q3e
