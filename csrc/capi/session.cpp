// Sessions: tokens that their owner appends one after the other.
#include <algorithm>
#include <atomic>
#include <memory>
#include <utility>
#include <vector>

#include "capi/guard.h"
#include "capi/model.h"
#include "runtime/sampling_defaults.h"

using q3e::capi::guarded;
using q3e::capi::require;

struct q3e_session {
  q3e_model* model;
  q3e::Scheduler::Held sequence;
  q3e::Sampler sampler;
  std::vector<float> logits;
  bool has_logits = false;
  int32_t sampled = -1;  // the last token of q3e_sample, until it is appended
  q3e::CancelFlag cancel{};
};

q3e_status q3e_session_new(q3e_model* model, const q3e_sampling* sampling, uint64_t seed, q3e_session** session) {
  return guarded([&] {
    require(model && session, "session: expected a model and a place for the session, found a null pointer");
    *session = nullptr;
    q3e::SamplingParameters parameters = q3e::stored_sampling(*model->file, false);
    if (sampling) sampling->apply(parameters);
    parameters.seed = seed;
    q3e::Sampler sampler(model->vocabulary(), model->usable_tokens(), std::move(parameters));
    std::unique_ptr<q3e_session> s(
        new q3e_session{model, model->scheduler.open(), std::move(sampler), std::vector<float>(model->vocabulary())});
    if (model->sessions.fetch_add(1) >= model->engine->plan().settings.sequences) {
      model->sessions.fetch_sub(1);
      require(false, "session: expected a free one, found all sessions of the settings in use");
    }
    *session = s.release();
  });
}

void q3e_session_free(q3e_session* session) {
  if (!session) return;
  guarded([&] {
    session->model->scheduler.cancel(*session->sequence);
    session->model->sessions.fetch_sub(1);
  });
  delete session;
}

uint32_t q3e_session_length(const q3e_session* session) {
  return session ? session->model->scheduler.length(*session->sequence) : 0;
}

q3e_status q3e_session_truncate(q3e_session* session, uint32_t length) {
  return guarded([&] {
    require(session, "truncate: expected a session, found a null pointer");
    session->sampler.truncate(session->model->scheduler.truncate(*session->sequence, length));
    session->has_logits = false;
    session->sampled = -1;
  });
}

void q3e_session_cancel(q3e_session* session) {
  if (session) session->cancel.set();
}

void q3e_session_resume(q3e_session* session) {
  if (session) session->cancel.clear();
}

q3e_status q3e_forward(q3e_session* session, const int32_t* tokens, size_t count, float* logits) {
  return guarded([&] {
    require(session && tokens && count > 0, "forward: expected a session and at least one token");
    q3e::Scheduler& scheduler = session->model->scheduler;
    try {
      scheduler.extend(session->sequence, {tokens, count}, session->logits.data(), session->cancel);
    } catch (...) {  // the sequence may have lost more than these tokens
      session->sampler.truncate(scheduler.length(*session->sequence));
      throw;
    }
    session->has_logits = true;
    for (size_t i = 0; i < count; ++i) session->sampler.accept(tokens[i], i == 0 && tokens[i] == session->sampled);
    session->sampled = -1;
    if (logits) std::copy(session->logits.begin(), session->logits.end(), logits);
  });
}

q3e_status q3e_sample(q3e_session* session, int32_t* token) {
  return guarded([&] {
    require(session && token, "sample: expected a session and a place for the token, found a null pointer");
    require(session->has_logits, "sample: expected a call of q3e_forward before");
    *token = session->sampled = session->sampler.sample(session->logits.data());
  });
}
