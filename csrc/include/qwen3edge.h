/* qwen3edge: a quantized runtime for Qwen3. Tokens in, tokens out; no Python, no abort.
 *
 * Every function returns a status; after anything but Q3E_OK, q3e_error_text() says what was expected and what was found.
 * Handles are opaque. One model serves several sessions, whose calls of q3e_forward from several threads are computed together;
 * calls on one session come from one thread at a time, but for q3e_session_cancel. A model must outlive its sessions. A forked
 * child may use and free what its parent loaded, unless a thread of the parent was in a call on it at the fork: then calls give
 * Q3E_BAD_ARGUMENT. */
#ifndef QWEN3EDGE_H
#define QWEN3EDGE_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define Q3E_API __attribute__((visibility("default")))
#else
#define Q3E_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef enum {
  Q3E_OK = 0,
  Q3E_BAD_ARGUMENT = 1,
  Q3E_IO_ERROR = 2,
  Q3E_TRUNCATED_FILE = 3,
  Q3E_FOREIGN_FILE = 4,
  Q3E_CORRUPT_FILE = 5,
  Q3E_BAD_FILE = 6,
  Q3E_UNSUPPORTED_MODEL = 7,
  Q3E_OVER_BUDGET = 8,
  Q3E_OUT_OF_MEMORY = 9,
  Q3E_INTERNAL = 10,
  Q3E_CANCELLED = 11,
  Q3E_BUSY = 12,
  Q3E_TEMPLATE_ERROR = 13
} q3e_status;

typedef enum { Q3E_KV_INT8 = 0, Q3E_KV_BF16 = 1, Q3E_KV_F32 = 2, Q3E_KV_INT4 = 3 } q3e_kv;

typedef struct {
  uint32_t context;  /* positions a session, 0: 4096, or all that the model knows */
  uint32_t sessions; /* at the same time */
  uint32_t threads;  /* 0: as many as affinity and cgroup quota allow */
  q3e_kv kv;
  uint64_t memory; /* bytes that the process may hold resident, 0: what the machine and its control groups leave */
  /* Of a mixture of experts, lossy when above 0: a token leaves out experts whose share of its weights is smaller. Below 1. */
  float min_expert_share;
  /* 1: what is streamed is read by threads alone. Not needed where io_uring is refused; where a sandbox ends a process that tries
   * it. Never tried on Android. */
  uint32_t without_io_uring;
  /* 1: q3e_load reads the whole file first and compares its checksums, against a disk's faults: Q3E_CORRUPT_FILE. */
  uint32_t verify;
} q3e_settings;

/* Bytes; peak = program + weights + buffers + kv_cache + scratch. What does not fit the budget is streamed: `streamed` is what
 * every decoded token reads from the file, through `buffers`. */
typedef struct {
  uint64_t weights, buffers, kv_cache, scratch, program, peak, budget, streamed;
} q3e_memory_plan;

/* Steps in their order; repetition_penalty 1 (over all tokens), frequency_penalty and presence_penalty 0 (over those that were
 * picked), top_k 0, top_p 1, min_p 0 switch a step off; temperature 0 is greedy. */
typedef struct {
  float repetition_penalty, frequency_penalty, presence_penalty, temperature;
  uint32_t top_k;
  float top_p, min_p;
  uint64_t seed;
} q3e_sampling;

typedef struct q3e_model q3e_model;
typedef struct q3e_session q3e_session;

/* context 0, one session, int8 cache, all cores, all memory */
Q3E_API q3e_settings q3e_default_settings(void);
/* Qwen3's own for answers without thinking, whatever the model: temperature 0.7, top_k 20, top_p 0.8, seed 0 */
Q3E_API q3e_sampling q3e_default_sampling(void);

/* What a model will cost; reads no weight. Q3E_OVER_BUDGET when it does not fit. */
Q3E_API q3e_status q3e_plan(const char* path, const q3e_settings* settings, q3e_memory_plan* plan);

Q3E_API q3e_status q3e_load(const char* path, const q3e_settings* settings, q3e_model** model);
Q3E_API void q3e_model_free(q3e_model* model);
Q3E_API uint32_t q3e_vocabulary(const q3e_model* model);
Q3E_API uint32_t q3e_context(const q3e_model* model);
/* Whether a token ends an answer: 1 or 0. */
Q3E_API int q3e_is_stop_token(const q3e_model* model, int32_t token);

/* As the model's file has it for answers with thinking (1) or without (0), seed 0: Qwen2.5's penalties are not Qwen3's. What the
 * file does not say is as Qwen3 has it. Q3E_BAD_FILE for values that no sampler takes. */
Q3E_API q3e_status q3e_model_sampling(const q3e_model* model, int thinking, q3e_sampling* sampling);

/* Q3E_BAD_ARGUMENT when all sessions of the settings are in use. */
Q3E_API q3e_status q3e_session_new(q3e_model* model, const q3e_sampling* sampling, q3e_session** session);
Q3E_API void q3e_session_free(q3e_session* session);
Q3E_API uint32_t q3e_session_length(const q3e_session* session);
/* Forgets all after the first `length` tokens, for the penalties as well. Where what is kept of them cannot go back so far, as in
 * a cache of Q3E_KV_INT4, the next q3e_forward computes some of them again. */
Q3E_API q3e_status q3e_session_truncate(q3e_session* session, uint32_t length);

/* From any thread, a signal's handler included: the q3e_forward of this session that runs ends within a layer, and until
 * q3e_session_resume each one that follows at once, with Q3E_CANCELLED and none of its tokens appended. */
Q3E_API void q3e_session_cancel(q3e_session* session);
Q3E_API void q3e_session_resume(q3e_session* session);

/* Appends tokens [count >= 1]; logits, when not null, receives [q3e_vocabulary] float32 after the last one. */
Q3E_API q3e_status q3e_forward(q3e_session* session, const int32_t* tokens, size_t count, float* logits);
/* Picks a token from the logits of the last q3e_forward; it is not appended, and until it is the same one is picked again. Once
 * it is, penalties count it as generated, and the next draw is the next of the seed. Rows without a token of the tokenizer are
 * never picked. */
Q3E_API q3e_status q3e_sample(q3e_session* session, int32_t* token);

/* Of the last call on this thread that did not return Q3E_OK. Never null. */
Q3E_API const char* q3e_error_text(void);

#ifdef __cplusplus
}
#endif

#endif
