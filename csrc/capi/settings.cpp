#include "capi/settings.h"

#include <algorithm>

#include "capi/guard.h"

using q3e::capi::guarded;
using q3e::capi::require;

namespace {

template <class F>
q3e_status change(q3e_settings* settings, F&& f) {
  return guarded([&] {
    require(settings, "settings: expected a handle, found a null pointer");
    f(*settings);
  });
}

// One of a sampler's parameters, in both of its places.
template <class T>
q3e_status set(q3e_sampling* sampling, std::optional<T> q3e_sampling::* place, T q3e::SamplingParameters::* parameter, T value) {
  return guarded([&] {
    require(sampling, "sampling: expected a handle, found a null pointer");
    q3e::SamplingParameters checked;
    checked.*parameter = value;
    q3e::require_in_range(checked);
    sampling->*place = value;
  });
}

}  // namespace

void q3e_settings::tell(uint64_t done, uint64_t all) const {
  if (on_progress && on_progress(progress_data, done, all) != 0)
    throw q3e::Error(q3e::Status::cancelled, "the load was ended by its callback");
}

void q3e_sampling::apply(q3e::SamplingParameters& p) const {
  p.repetition_penalty = repetition_penalty.value_or(p.repetition_penalty);
  p.frequency_penalty = frequency_penalty.value_or(p.frequency_penalty);
  p.presence_penalty = presence_penalty.value_or(p.presence_penalty);
  p.temperature = temperature.value_or(p.temperature);
  p.top_k = top_k.value_or(p.top_k);
  p.top_p = top_p.value_or(p.top_p);
  p.min_p = min_p.value_or(p.min_p);
  p.logit_bias = logit_bias;
}

q3e_status q3e_settings_new(q3e_settings** settings) {
  return guarded([&] {
    require(settings, "settings: expected a place for them, found a null pointer");
    *settings = new q3e_settings;
  });
}

void q3e_settings_free(q3e_settings* settings) { delete settings; }

q3e_status q3e_settings_set_context(q3e_settings* settings, uint32_t context) {
  return change(settings, [&](q3e_settings& s) { s.plan.context = context; });
}

q3e_status q3e_settings_set_sessions(q3e_settings* settings, uint32_t sessions) {
  return change(settings, [&](q3e_settings& s) { s.plan.sequences = sessions; });
}

q3e_status q3e_settings_set_threads(q3e_settings* settings, uint32_t threads) {
  return change(settings, [&](q3e_settings& s) { s.plan.threads = threads; });
}

q3e_status q3e_settings_set_kv(q3e_settings* settings, q3e_kv kv) {
  return change(settings, [&](q3e_settings& s) {
    require(kv >= Q3E_KV_INT8 && kv <= Q3E_KV_INT4, "kv: expected one of q3e_kv");
    s.plan.kv = static_cast<q3e::KvType>(kv);
  });
}

q3e_status q3e_settings_set_memory(q3e_settings* settings, uint64_t bytes) {
  return change(settings, [&](q3e_settings& s) { s.plan.memory = bytes; });
}

q3e_status q3e_settings_set_texts(q3e_settings* settings, int texts) {
  return change(settings, [&](q3e_settings& s) { s.texts = texts != 0; });
}

q3e_status q3e_settings_set_min_expert_share(q3e_settings* settings, float share) {
  return change(settings, [&](q3e_settings& s) { s.plan.min_expert_share = share; });
}

q3e_status q3e_settings_set_without_io_uring(q3e_settings* settings, int without) {
  return change(settings, [&](q3e_settings& s) { s.plan.reader = without ? q3e::ReadMethod::threads : q3e::ReadMethod::uring; });
}

q3e_status q3e_settings_set_verify(q3e_settings* settings, int verify) {
  return change(settings, [&](q3e_settings& s) { s.verify = verify != 0; });
}

q3e_status q3e_settings_set_progress(q3e_settings* settings, q3e_on_progress on_progress, void* data) {
  return change(settings, [&](q3e_settings& s) {
    s.on_progress = on_progress;
    s.progress_data = data;
  });
}

q3e_status q3e_settings_set_draft_tokens(q3e_settings* settings, uint32_t tokens) {
  return change(settings, [&](q3e_settings& s) { s.draft_tokens = tokens; });
}

q3e_status q3e_settings_set_draft(q3e_settings* settings, const char* path) {
  return change(settings, [&](q3e_settings& s) {
    require(!path || *path, "draft: expected a path, found an empty text");
    s.draft = path ? path : "";
  });
}

q3e_status q3e_sampling_new(q3e_sampling** sampling) {
  return guarded([&] {
    require(sampling, "sampling: expected a place for it, found a null pointer");
    *sampling = new q3e_sampling;
  });
}

void q3e_sampling_free(q3e_sampling* sampling) { delete sampling; }

q3e_status q3e_sampling_set_temperature(q3e_sampling* sampling, float temperature) {
  return set(sampling, &q3e_sampling::temperature, &q3e::SamplingParameters::temperature, temperature);
}

q3e_status q3e_sampling_set_top_k(q3e_sampling* sampling, uint32_t top_k) {
  return set(sampling, &q3e_sampling::top_k, &q3e::SamplingParameters::top_k, top_k);
}

q3e_status q3e_sampling_set_top_p(q3e_sampling* sampling, float top_p) {
  return set(sampling, &q3e_sampling::top_p, &q3e::SamplingParameters::top_p, top_p);
}

q3e_status q3e_sampling_set_min_p(q3e_sampling* sampling, float min_p) {
  return set(sampling, &q3e_sampling::min_p, &q3e::SamplingParameters::min_p, min_p);
}

q3e_status q3e_sampling_set_presence_penalty(q3e_sampling* sampling, float penalty) {
  return set(sampling, &q3e_sampling::presence_penalty, &q3e::SamplingParameters::presence_penalty, penalty);
}

q3e_status q3e_sampling_set_frequency_penalty(q3e_sampling* sampling, float penalty) {
  return set(sampling, &q3e_sampling::frequency_penalty, &q3e::SamplingParameters::frequency_penalty, penalty);
}

q3e_status q3e_sampling_set_repetition_penalty(q3e_sampling* sampling, float penalty) {
  return set(sampling, &q3e_sampling::repetition_penalty, &q3e::SamplingParameters::repetition_penalty, penalty);
}

q3e_status q3e_sampling_set_bias(q3e_sampling* sampling, int32_t token, float bias) {
  return guarded([&] {
    require(sampling, "sampling: expected a handle, found a null pointer");
    std::vector<q3e::LogitBias> all = sampling->logit_bias;
    std::erase_if(all, [&](const q3e::LogitBias& known) { return known.token == token; });
    all.push_back({token, bias});
    q3e::SamplingParameters checked;
    checked.logit_bias = all;
    q3e::require_in_range(checked);
    sampling->logit_bias = std::move(all);
  });
}
