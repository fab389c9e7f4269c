// The sampler.
#include "runtime/sampler.h"

#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "bindings/bindings.h"
#include "runtime/prompt_lookup.h"
#include "runtime/sampling_defaults.h"

namespace q3e::bindings {

namespace {

const float* checked_logits(const Sampler& s, const Floats& logits) {
  require(static_cast<size_t>(logits.size()) == s.vocabulary(), "logits: expected one for each token of the vocabulary");
  return logits.data();
}

}  // namespace

std::optional<TokenMask> mask_of(const py::object& words) {
  if (words.is_none()) return std::nullopt;
  if (!py::isinstance<py::array_t<uint32_t, py::array::c_style>>(words) &&
      !py::isinstance<py::array_t<int32_t, py::array::c_style>>(words))
    fail("mask: expected a contiguous array of int32 or uint32, found something else");
  const auto found = py::reinterpret_borrow<py::array>(words);
  if (found.ndim() != 1) fail("mask: expected one dimension, found " + std::to_string(found.ndim()));
  return TokenMask{static_cast<const uint32_t*>(found.data()), static_cast<size_t>(found.size())};
}

py::tuple pair_of(const Logprobs& logprobs) {
  py::list best;
  for (const TokenLogprob& each : logprobs.top) best.append(py::make_tuple(each.token, each.logprob));
  return py::make_tuple(logprobs.token, best);
}

namespace {

std::shared_ptr<Sampler> make_sampler(uint32_t vocabulary, std::optional<uint32_t> usable, float temperature, uint32_t top_k,
                                      float top_p, float min_p, float presence_penalty, float frequency_penalty,
                                      float repetition_penalty, const std::map<int32_t, float>& logit_bias, uint64_t seed,
                                      uint32_t choice, uint32_t min_tokens, std::vector<int32_t> stop_tokens,
                                      std::vector<int32_t> never) {
  SamplingParameters p;
  p.never = std::move(never);
  p.min_tokens = min_tokens;
  p.stop_tokens = std::move(stop_tokens);
  for (const auto& [token, value] : logit_bias) p.logit_bias.push_back({token, value});
  p.repetition_penalty = repetition_penalty;
  p.frequency_penalty = frequency_penalty;
  p.presence_penalty = presence_penalty;
  p.temperature = temperature;
  p.top_k = top_k;
  p.top_p = top_p;
  p.min_p = min_p;
  p.seed = seed;
  p.choice = choice;
  return std::make_shared<Sampler>(vocabulary, usable.value_or(vocabulary), std::move(p));
}

int32_t sample(const Sampler& s, const Floats& logits, const py::object& mask, std::optional<uint64_t> index) {
  const float* values = checked_logits(s, logits);
  const std::optional<TokenMask> allowed = mask_of(mask);
  const WithoutGil released;
  return s.sample(values, allowed ? &*allowed : nullptr, index);
}

py::tuple logprobs(const Sampler& s, const Floats& logits, int32_t token, uint32_t top) {
  const float* values = checked_logits(s, logits);
  Logprobs found;
  {
    const WithoutGil released;
    found = s.logprobs(values, token, top);
  }
  return pair_of(found);
}

}  // namespace

void bind_sampler(py::module_& m) {
  const SamplingParameters advised = advised_sampling(false);
  py::class_<Sampler, std::shared_ptr<Sampler>>(m, "Sampler")
      .def(py::init(&make_sampler), py::kw_only(), "vocabulary"_a, "usable"_a = py::none(), "temperature"_a = advised.temperature,
           "top_k"_a = advised.top_k, "top_p"_a = advised.top_p, "min_p"_a = advised.min_p,
           "presence_penalty"_a = advised.presence_penalty, "frequency_penalty"_a = advised.frequency_penalty,
           "repetition_penalty"_a = advised.repetition_penalty, "logit_bias"_a = py::dict(), "seed"_a = advised.seed,
           "choice"_a = advised.choice, "min_tokens"_a = advised.min_tokens, "stop_tokens"_a = py::tuple(),
           "never"_a = py::tuple())
      .def_property_readonly("generated", &Sampler::generated)
      .def("accept", &Sampler::accept, "token"_a, "generated"_a = true)
      .def("truncate", &Sampler::truncate, "length"_a)
      .def("sample", &sample, "logits"_a, py::kw_only(), "mask"_a = py::none(), "index"_a = py::none())
      .def("logprobs", &logprobs, "logits"_a, "token"_a, "top"_a = 0);
  py::class_<PromptLookup>(m, "PromptLookup")
      .def(py::init<uint32_t>(), "context"_a)
      .def(
          "find",
          [](PromptLookup& lookup, const std::vector<int32_t>& tokens) {
            const PromptLookup::Found found = lookup.find(tokens);
            return py::make_tuple(found.begin, found.agreed);
          },
          "tokens"_a);
}

}  // namespace q3e::bindings
