// What outlives an answer: saved conversations, and what a model counts.
#include <span>
#include <string>
#include <vector>

#include "capi/answer.h"
#include "capi/caller_memory.h"
#include "capi/guard.h"
#include "runtime/process_memory.h"
#include "runtime/session_file.h"

using q3e::capi::give;
using q3e::capi::give_text;
using q3e::capi::guarded;
using q3e::capi::require;

namespace {

void save(q3e_model& model, std::span<const int32_t> tokens, const char* note, const char* path) {
  require(path, "save: expected a path, found a null pointer");
  q3e::save_session(*model.engine, tokens, note ? note : "", path);
}

}  // namespace

q3e_status q3e_save(q3e_model* model, const int32_t* tokens, size_t count, const char* note, const char* path) {
  return guarded([&] {
    require(model && tokens && count > 0, "save: expected a model and at least one token");
    save(*model, {tokens, count}, note, path);
  });
}

q3e_status q3e_answer_save(const q3e_answer* answer, const char* note, const char* path) {
  return guarded([&] {
    require(answer, "save: expected an answer, found a null pointer");
    std::vector<int32_t> all = answer->prompt;
    all.insert(all.end(), answer->tokens.begin(), answer->tokens.end());
    save(answer->model, all, note, path);
  });
}

q3e_status q3e_restore(q3e_model* model, const char* path, int32_t* tokens, size_t capacity, size_t* count, char* note,
                       size_t note_capacity, size_t* note_length) {
  return guarded([&] {
    require(model && path && count && note_length,
            "restore: expected a model, a path and places for the count and the note's length, found a null pointer");
    const q3e::SavedSession saved = q3e::load_session(*model->engine, path);
    give(saved.tokens, tokens, capacity, count);
    give_text(saved.note, note, note_capacity, note_length);
  });
}

q3e_status q3e_model_metrics(q3e_model* model, q3e_metrics* metrics, size_t size) {
  return guarded([&] {
    require(model && metrics, "metrics: expected a model and a place for them, found a null pointer");
    const q3e::Scheduler::Counts c = model->scheduler.counts();
    const q3e::EngineMetrics e = model->engine->metrics();
    const q3e_metrics all = {q3e::resident_bytes(),
                             q3e::peak_resident_bytes(),
                             model->prompt_tokens,
                             model->cached_tokens,
                             model->answer_tokens,
                             c.steps,
                             e.bytes_read,
                             e.wait_seconds,
                             e.expert_hits,
                             e.expert_misses,
                             c.running,
                             c.waiting,
                             c.drafted,
                             c.accepted_drafts};
    give(all, metrics, size);
  });
}
