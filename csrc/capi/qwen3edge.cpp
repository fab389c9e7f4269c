// The C API: handles around the core, and no exception that passes them.
#include "qwen3edge.h"

#include <algorithm>
#include <atomic>
#include <memory>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "models/architectures.h"
#include "runtime/engine.h"
#include "runtime/sampler.h"
#include "runtime/sampling_defaults.h"
#include "runtime/scheduler.h"

struct q3e_model {
  std::shared_ptr<const q3e::ModelFile> file;
  const std::unique_ptr<q3e::Engine, q3e::Engine::Delete> engine;
  q3e::Scheduler scheduler;
  std::vector<uint32_t> stop_tokens;
  std::atomic<uint32_t> sessions{0};

  q3e_model(std::shared_ptr<const q3e::ModelFile> f, const q3e::PlanRequest& request)
      : file(f),
        engine(new q3e::Engine(f, request, q3e::best_isa())),
        scheduler(*engine),
        stop_tokens(f->u32_array("qwen3edge.stop_token_ids")) {}
};

struct q3e_session {
  q3e_model* model;
  q3e::Scheduler::Held sequence;
  q3e::Sampler sampler;
  std::vector<float> logits;
  bool has_logits = false;
  int32_t sampled = -1;  // the last token of q3e_sample, until it is appended
  q3e::CancelFlag cancel{};
};

namespace {

thread_local std::string error_text = "no error";

template <class F>
q3e_status guarded(F&& f) noexcept {
  try {
    f();
    return Q3E_OK;
  } catch (const q3e::Error& e) {
    try {
      error_text = e.what();
    } catch (...) {
    }
    return static_cast<q3e_status>(e.status());
  } catch (const std::bad_alloc&) {
    error_text = "out of memory";  // fits the string's own buffer
    return Q3E_OUT_OF_MEMORY;
  } catch (...) {
    error_text = "internal error";
    return Q3E_INTERNAL;
  }
}

void require(bool condition, const char* text) {
  if (!condition) throw q3e::Error(q3e::Status::bad_argument, text);
}

q3e::PlanRequest request_of(const q3e_settings& s) {
  require(s.kv >= Q3E_KV_INT8 && s.kv <= Q3E_KV_INT4, "kv: expected one of q3e_kv");
  q3e::PlanRequest r;
  r.context = s.context;
  r.sequences = s.sessions;
  r.threads = s.threads;
  r.kv = static_cast<q3e::KvType>(s.kv);
  r.memory = s.memory;
  r.min_expert_share = s.min_expert_share;
  r.reader = s.without_io_uring ? q3e::ReadMethod::threads : q3e::ReadMethod::uring;
  return r;
}

q3e::SamplingParameters parameters_of(const q3e_sampling& s) {
  q3e::SamplingParameters p;
  p.repetition_penalty = s.repetition_penalty;
  p.frequency_penalty = s.frequency_penalty;
  p.presence_penalty = s.presence_penalty;
  p.temperature = s.temperature;
  p.top_k = s.top_k;
  p.top_p = s.top_p;
  p.min_p = s.min_p;
  p.seed = s.seed;
  return p;
}

q3e_sampling sampling_of(const q3e::SamplingParameters& p) {
  return {p.repetition_penalty, p.frequency_penalty, p.presence_penalty, p.temperature, p.top_k, p.top_p, p.min_p, p.seed};
}

// The rows that tokens have; a model without a tokenizer may pick any.
uint32_t usable_tokens(const q3e_model& model) {
  const uint32_t vocabulary = model.engine->config().vocab_size;
  const q3e::MetadataEntry* tokens = model.file->find_key("tokenizer.ggml.tokens");
  const bool known = tokens && tokens->is_array && tokens->count > 0;
  return known ? static_cast<uint32_t>(std::min<uint64_t>(tokens->count, vocabulary)) : vocabulary;
}

}  // namespace

extern "C" {

q3e_settings q3e_default_settings(void) { return {0, 1, 0, Q3E_KV_INT8, 0, 0, 0, 0}; }

q3e_sampling q3e_default_sampling(void) { return sampling_of(q3e::advised_sampling(false)); }

q3e_status q3e_plan(const char* path, const q3e_settings* settings, q3e_memory_plan* plan) {
  return guarded([&] {
    require(path && settings && plan, "plan: expected path, settings and plan, found a null pointer");
    const q3e::ModelFile file(path);
    const q3e::MemoryPlan p = q3e::make_plan(file, q3e::read_model(file), request_of(*settings));
    *plan = {p.weights, p.buffers, p.kv_cache, p.scratch, p.program, p.peak, p.budget, p.streamed};
  });
}

q3e_status q3e_load(const char* path, const q3e_settings* settings, q3e_model** model) {
  return guarded([&] {
    require(path && settings && model, "load: expected path, settings and model, found a null pointer");
    *model = nullptr;
    const auto file = std::make_shared<const q3e::ModelFile>(path);
    if (settings->verify) file->verify();
    *model = new q3e_model(file, request_of(*settings));
    file->release_header();
  });
}

void q3e_model_free(q3e_model* model) { delete model; }

uint32_t q3e_vocabulary(const q3e_model* model) { return model ? model->engine->config().vocab_size : 0; }

uint32_t q3e_context(const q3e_model* model) { return model ? model->engine->plan().settings.context : 0; }

int q3e_is_stop_token(const q3e_model* model, int32_t token) {
  return model && std::find(model->stop_tokens.begin(), model->stop_tokens.end(), static_cast<uint32_t>(token)) !=
                      model->stop_tokens.end();
}

q3e_status q3e_model_sampling(const q3e_model* model, int thinking, q3e_sampling* sampling) {
  return guarded([&] {
    require(model && sampling, "model_sampling: expected a model and a place for its sampling, found a null pointer");
    *sampling = sampling_of(q3e::stored_sampling(*model->file, thinking != 0));
  });
}

q3e_status q3e_session_new(q3e_model* model, const q3e_sampling* sampling, q3e_session** session) {
  return guarded([&] {
    require(model && sampling && session, "session: expected model, sampling and session, found a null pointer");
    *session = nullptr;
    const uint32_t vocabulary = model->engine->config().vocab_size;
    q3e::Sampler sampler(vocabulary, usable_tokens(*model), parameters_of(*sampling));
    std::unique_ptr<q3e_session> s(
        new q3e_session{model, model->scheduler.open(), std::move(sampler), std::vector<float>(vocabulary)});
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

const char* q3e_error_text(void) { return error_text.c_str(); }

}  // extern "C"
