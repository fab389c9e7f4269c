/* qwen3edge: a quantized runtime for Qwen3. Text in, text out, or tokens in, tokens out; no Python, no abort.
 *
 * Every function that can fail returns a status; after anything but Q3E_OK, q3e_error_text() says what was expected and what was
 * found. Handles are opaque, and every one is freed by its own function, which takes null as well. Texts are UTF-8; what is none
 * counts as U+FFFD.
 *
 * One model serves several answers and sessions, whose calls from several threads are computed together. A handle is used by one
 * thread at a time, but for models, and for what cancels, which are for any thread at any time. A model must outlive what was
 * made from it. A forked child may use and free what its parent loaded, unless a thread of the parent was in a call on it at the
 * fork: then calls give Q3E_BAD_ARGUMENT.
 *
 * Structures that the library fills grow at their end: a function that fills one is told its size, and writes as much as both
 * know. Those that a callback receives are the library's. */
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

/* Of this header. What is added leaves Q3E_ABI as it is; what is changed or taken away raises it. */
#define Q3E_VERSION "0.1.0"
#define Q3E_ABI 1

/* Of the library that is there, to compare with the above. */
Q3E_API const char* q3e_version(void);
Q3E_API uint32_t q3e_abi(void);

typedef enum {
  Q3E_OK = 0,
  Q3E_BAD_ARGUMENT = 1,
  Q3E_IO_ERROR = 2,
  Q3E_TRUNCATED_FILE = 3,
  Q3E_FOREIGN_FILE = 4,
  Q3E_CORRUPT_FILE = 5,
  Q3E_BAD_FILE = 6,
  Q3E_UNSUPPORTED_MODEL = 7, /* or what this model lacks: a tokenizer, a chat template that runs here */
  Q3E_OVER_BUDGET = 8,
  Q3E_OUT_OF_MEMORY = 9,
  Q3E_INTERNAL = 10,
  Q3E_CANCELLED = 11,
  Q3E_BUSY = 12, /* the queue is full */
  Q3E_TEMPLATE_ERROR = 13
} q3e_status;

/* Of the last call on this thread that did not return Q3E_OK. Never null. */
Q3E_API const char* q3e_error_text(void);

/* ---- settings: how a model is loaded ---- */

typedef enum { Q3E_KV_INT8 = 0, Q3E_KV_BF16 = 1, Q3E_KV_F32 = 2, Q3E_KV_INT4 = 3 } q3e_kv;

typedef struct q3e_settings q3e_settings;

/* With the values in brackets below. What is out of range is refused by q3e_plan and q3e_load, which know the model. */
Q3E_API q3e_status q3e_settings_new(q3e_settings** settings);
Q3E_API void q3e_settings_free(q3e_settings* settings);
/* Positions a session or an answer [0: 4096, or all that the model knows]. */
Q3E_API q3e_status q3e_settings_set_context(q3e_settings* settings, uint32_t context);
/* Answers that are computed at the same time; others wait. And sessions that are open at the same time [1]. */
Q3E_API q3e_status q3e_settings_set_sessions(q3e_settings* settings, uint32_t sessions);
/* [0: as many as affinity and cgroup quota allow] */
Q3E_API q3e_status q3e_settings_set_threads(q3e_settings* settings, uint32_t threads);
/* [Q3E_KV_INT8] */
Q3E_API q3e_status q3e_settings_set_kv(q3e_settings* settings, q3e_kv kv);
/* Bytes that the process may hold resident [0: what the machine and its control groups leave]. */
Q3E_API q3e_status q3e_settings_set_memory(q3e_settings* settings, uint64_t bytes);
/* Whether texts will be read and written, for which the tokenizer is held and planned for [1]. 0: token ids alone. */
Q3E_API q3e_status q3e_settings_set_texts(q3e_settings* settings, int texts);
/* Of a mixture of experts, lossy when above 0: a token leaves out experts whose share of its weights is smaller. Below 1. [0] */
Q3E_API q3e_status q3e_settings_set_min_expert_share(q3e_settings* settings, float share);
/* 1: what is streamed is read by threads alone. Not needed where io_uring is refused; where a sandbox ends a process that tries
 * it. Never tried on Android. [0] */
Q3E_API q3e_status q3e_settings_set_without_io_uring(q3e_settings* settings, int without);
/* 1: q3e_load reads the whole file first and compares its checksums, against a disk's faults: Q3E_CORRUPT_FILE. [0] */
Q3E_API q3e_status q3e_settings_set_verify(q3e_settings* settings, int verify);
/* Is told how many bytes of how many were read; anything but 0 ends the load with Q3E_CANCELLED. */
typedef int (*q3e_on_progress)(void* data, uint64_t done, uint64_t all);
/* Of the reading that `verify` asks for and of the copying of q3e_load_memory, which are what takes time: any other load maps the
 * file and is done. Null: nobody is told. [null] */
Q3E_API q3e_status q3e_settings_set_progress(q3e_settings* settings, q3e_on_progress on_progress, void* data);
/* Tokens a step that are checked beside the next one, because they followed the same words before, in the prompt or in the
 * answer, or that a draft model gives: answers that quote, edit or fill in come faster, and are the same. Not for answers with a
 * mask, nor with a required tool call. At most 256. [0; 8 with a draft model] */
Q3E_API q3e_status q3e_settings_set_draft_tokens(q3e_settings* settings, uint32_t tokens);
/* The file of a smaller model with the same tokens, which drafts where nothing was looked up; it takes its part of the budget,
 * and reads every prompt as well. Refused by q3e_plan and q3e_load where its tokens are others, it knows a shorter context or
 * cannot go back token by token, and where it does not fit beside the other. Copied; null: none. [null] */
Q3E_API q3e_status q3e_settings_set_draft(q3e_settings* settings, const char* path);

/* ---- models ---- */

/* Bytes; peak = program + weights + buffers + kv_cache + scratch + draft. What does not fit the budget is streamed: `streamed` is
 * what every decoded token reads from the file, through `buffers`. draft: of a draft model, all of it. */
typedef struct {
  uint64_t weights, buffers, kv_cache, scratch, program, peak, budget, streamed;
  uint64_t draft;
} q3e_memory_plan;

typedef struct q3e_model q3e_model;

/* What a model will cost; reads no weight. Q3E_OVER_BUDGET when it does not fit. settings: null: all as they are. size: sizeof
 * *plan. */
Q3E_API q3e_status q3e_plan(const char* path, const q3e_settings* settings, q3e_memory_plan* plan, size_t size);

Q3E_API q3e_status q3e_load(const char* path, const q3e_settings* settings, q3e_model** model);
/* The same of an open file, also of one without a name (memfd_create), which may be closed afterwards. Linux alone. */
Q3E_API q3e_status q3e_load_descriptor(int descriptor, const q3e_settings* settings, q3e_model** model);
/* The same of a file's bytes, such as a resource of the program; they are copied into a file without a name, and may be freed
 * afterwards. The copy stays in the machine's memory, what is streamed of it included, and the plan counts what is mapped of it
 * as of any file. Linux alone. */
Q3E_API q3e_status q3e_load_memory(const void* bytes, size_t size, const q3e_settings* settings, q3e_model** model);
Q3E_API void q3e_model_free(q3e_model* model);
/* Logits of a position. */
Q3E_API uint32_t q3e_vocabulary(const q3e_model* model);
Q3E_API uint32_t q3e_context(const q3e_model* model);
/* Whether a token ends an answer: 1 or 0. */
Q3E_API int q3e_is_stop_token(const q3e_model* model, int32_t token);

/* ---- sampling: how tokens are picked ---- */

/* Steps in their order; repetition_penalty 1 (over all tokens), frequency_penalty and presence_penalty 0 (over those that were
 * picked), top_k 0, top_p 1, min_p 0 switch a step off; temperature 0 is greedy. */
typedef struct {
  float repetition_penalty, frequency_penalty, presence_penalty, temperature;
  uint32_t top_k;
  float top_p, min_p;
} q3e_sampling_values;

/* What is taken where nothing is set: as the model's file has it for answers with thinking (1) or without (0), Qwen2.5's
 * penalties are not Qwen3's; what the file does not say is as Qwen advises for Qwen3. Q3E_BAD_FILE for values that no sampler
 * takes. size: sizeof *values. */
Q3E_API q3e_status q3e_model_sampling(const q3e_model* model, int thinking, q3e_sampling_values* values, size_t size);

/* What differs from that. Setters give Q3E_BAD_ARGUMENT for a value out of range. */
typedef struct q3e_sampling q3e_sampling;
Q3E_API q3e_status q3e_sampling_new(q3e_sampling** sampling);
Q3E_API void q3e_sampling_free(q3e_sampling* sampling);
Q3E_API q3e_status q3e_sampling_set_temperature(q3e_sampling* sampling, float temperature);
Q3E_API q3e_status q3e_sampling_set_top_k(q3e_sampling* sampling, uint32_t top_k);
Q3E_API q3e_status q3e_sampling_set_top_p(q3e_sampling* sampling, float top_p);
Q3E_API q3e_status q3e_sampling_set_min_p(q3e_sampling* sampling, float min_p);
Q3E_API q3e_status q3e_sampling_set_presence_penalty(q3e_sampling* sampling, float penalty);
Q3E_API q3e_status q3e_sampling_set_frequency_penalty(q3e_sampling* sampling, float penalty);
Q3E_API q3e_status q3e_sampling_set_repetition_penalty(q3e_sampling* sampling, float penalty);
/* Added to a token's logit, from -100, which all but bans it, to 100, which all but forces it. */
Q3E_API q3e_status q3e_sampling_set_bias(q3e_sampling* sampling, int32_t token, float bias);

/* ---- texts and tokens ---- */

/* The ids of a text [length bytes]. special: 1: names of tokens such as `<|im_end|>` become those tokens; 0: they are text.
 * tokens receives as many as there are, `capacity` at most; *count how many there are. */
Q3E_API q3e_status q3e_tokenize(const q3e_model* model, const char* text, size_t length, int special, int32_t* tokens,
                                size_t capacity, size_t* count);
/* The text of tokens, names of control tokens included. text receives as many bytes as there are and a zero behind them,
 * `capacity` at most; *length how many there are, without the zero. */
Q3E_API q3e_status q3e_detokenize(const q3e_model* model, const int32_t* tokens, size_t count, char* text, size_t capacity,
                                  size_t* length);

/* ---- requests: what an answer is asked for ---- */

typedef struct q3e_request q3e_request;
typedef struct q3e_answer q3e_answer;

Q3E_API q3e_status q3e_request_new(q3e_request** request);
Q3E_API void q3e_request_free(q3e_request* request);

/* The conversation, which the model's own chat template makes a prompt of. role: "system", "developer", "user", "assistant" or
 * "tool". Names of tokens in it are text. */
Q3E_API q3e_status q3e_request_add_message(q3e_request* request, const char* role, const char* content);
/* A message as a JSON object, or several as an array, in OpenAI's form: role, content (a text, or parts of type "text"), and
 * where they are given reasoning_content, tool_calls, tool_call_id, name. What the template cannot take is refused with the
 * answer. */
Q3E_API q3e_status q3e_request_add_messages(q3e_request* request, const char* json);
/* What an answer said: its content, its thoughts, its complete tool calls. */
Q3E_API q3e_status q3e_request_add_answer(q3e_request* request, const q3e_answer* answer);
Q3E_API q3e_status q3e_request_clear_messages(q3e_request* request);
/* Schemas of functions as a JSON array in OpenAI's form; null: none. With tools, calls in the answer are told from its text. */
Q3E_API q3e_status q3e_request_set_tools(q3e_request* request, const char* json);
/* auto: the model calls or answers. none: it cannot begin a call, though it sees the tools. required: behind its thoughts it
 * makes at least one call, and nothing else; up to a call's arguments it is held to its form, the arguments are its own. */
typedef enum { Q3E_TOOL_CHOICE_AUTO = 0, Q3E_TOOL_CHOICE_NONE = 1, Q3E_TOOL_CHOICE_REQUIRED = 2 } q3e_tool_choice;
/* name: with `required` the one tool that is called, once; null: any, any number of times. Refused with the answer where there is
 * no such tool, and where a mask is set beside `required`. [Q3E_TOOL_CHOICE_AUTO] */
Q3E_API q3e_status q3e_request_set_tool_choice(q3e_request* request, q3e_tool_choice choice, const char* name);
/* Values for the template besides, such as `documents`, as a JSON object; null: none. */
Q3E_API q3e_status q3e_request_set_variables(q3e_request* request, const char* json);
/* In place of a conversation: tokens that are taken as they are; or a text that the model continues, in which names of tokens are
 * those tokens. Null: the conversation again. */
Q3E_API q3e_status q3e_request_set_tokens(q3e_request* request, const int32_t* tokens, size_t count);
Q3E_API q3e_status q3e_request_set_text(q3e_request* request, const char* text);

/* Whether the model thinks before it answers: its template's choice, or not, or so. Refused with the answer where it cannot. */
typedef enum { Q3E_THINKING_AUTO = 0, Q3E_THINKING_OFF = 1, Q3E_THINKING_ON = 2 } q3e_thinking;
Q3E_API q3e_status q3e_request_set_thinking(q3e_request* request, q3e_thinking thinking);

#define Q3E_NO_LIMIT UINT32_MAX
/* Tokens of thoughts, after which the model is made to answer; 0: before the first. [Q3E_NO_LIMIT] message: what its thoughts end
 * with then, beyond the budget; null: nothing. */
Q3E_API q3e_status q3e_request_set_thinking_budget(q3e_request* request, uint32_t tokens, const char* message);
/* Of the answer, thoughts included [0: until the context is full]. */
Q3E_API q3e_status q3e_request_set_max_tokens(q3e_request* request, uint32_t tokens);
/* Before so many, no token that would end the answer is picked [0]. */
Q3E_API q3e_status q3e_request_set_min_tokens(q3e_request* request, uint32_t tokens);
/* Copies it; null: the model's own. */
Q3E_API q3e_status q3e_request_set_sampling(q3e_request* request, const q3e_sampling* sampling);
/* The same seed gives the same answer everywhere [drawn for each answer; q3e_usage tells it]. */
Q3E_API q3e_status q3e_request_set_seed(q3e_request* request, uint64_t seed);
/* Which of several answers to one request: with one seed each choice, from 0 on, is another answer, the same everywhere. What
 * they have in common is computed once. [0] */
Q3E_API q3e_status q3e_request_set_choice(q3e_request* request, uint32_t choice);
/* Strings that end the content and are not part of it, 64 at most. */
Q3E_API q3e_status q3e_request_add_stop(q3e_request* request, const char* stop);
/* Tokens that end the answer, beside the model's own. */
Q3E_API q3e_status q3e_request_add_stop_token(q3e_request* request, int32_t token);
/* 1: the model's own end tokens are never picked [0]. */
Q3E_API q3e_status q3e_request_set_ignore_end(q3e_request* request, int ignore);
/* 1: each token's event says how probable it was, and so many of the most probable ones were, 20 at most [0, 0]. */
Q3E_API q3e_status q3e_request_set_logprobs(q3e_request* request, int logprobs, uint32_t top);
/* 1: the same of each token of the prompt, from the second on, as events of their own: all of it is computed, whatever is in
 * memory [0, 0]. */
Q3E_API q3e_status q3e_request_set_prompt_logprobs(q3e_request* request, int logprobs, uint32_t top);
/* 1: all of the answer is content as the model writes it: thoughts and tool calls are text there [0]. */
Q3E_API q3e_status q3e_request_set_verbatim(q3e_request* request, int verbatim);

/* A constraint, such as a grammar: says before each token which may come next. tokens [count]: of the answer, since the last
 * call. Sets bit t % 32 of words[t / 32] for each token t that may come, of words [size] that are all 0 before, and returns 1;
 * returns 0 where any token may; below 0 to end the answer as failed. Called before a step, by whichever thread runs it, for one
 * answer from one thread at a time; it must not wait for an answer. As it has a state, a request with one is for one answer at a
 * time. */
typedef int (*q3e_mask)(void* data, const int32_t* tokens, size_t count, uint32_t* words, size_t size);
/* Null: none. */
Q3E_API q3e_status q3e_request_set_mask(q3e_request* request, q3e_mask mask, void* data);

/* The tokens of the prompt that an answer to this request has; nothing is computed. As q3e_tokenize gives them. */
Q3E_API q3e_status q3e_request_tokens(const q3e_model* model, const q3e_request* request, int32_t* tokens, size_t capacity,
                                      size_t* count);

/* ---- answers ---- */

typedef enum {
  Q3E_FINISH_RUNNING = 0,
  Q3E_FINISH_STOP = 1,       /* a stop token or string */
  Q3E_FINISH_TOOL_CALLS = 2, /* a stop token, after calls */
  Q3E_FINISH_MAX_TOKENS = 3, /* cut */
  Q3E_FINISH_CONTEXT = 4,    /* cut: the context is full */
  Q3E_FINISH_CANCELLED = 5,
  Q3E_FINISH_FAILED = 6
} q3e_finish;

/* So far. prompt_tokens: of which computed_tokens are done, cached_tokens of them found in memory. */
typedef struct {
  uint64_t seed;
  uint32_t prompt_tokens, cached_tokens, computed_tokens, completion_tokens, reasoning_tokens;
  double queue_seconds, prefill_seconds, decode_seconds;
} q3e_usage;

typedef struct {
  int32_t token;
  double logprob; /* natural logarithm; NaN: not asked for, or of a token that was not picked, as at the end of a budget */
} q3e_logprob;

typedef enum {
  Q3E_EVENT_PROMPT = 0,         /* more of the prompt was computed: usage */
  Q3E_EVENT_TOKEN = 1,          /* of the answer: token, top */
  Q3E_EVENT_REASONING = 2,      /* text: of its thoughts */
  Q3E_EVENT_CONTENT = 3,        /* text */
  Q3E_EVENT_CALL_BEGIN = 4,     /* text: the function's name; call */
  Q3E_EVENT_CALL_ARGUMENTS = 5, /* text: the next part of their JSON; call */
  Q3E_EVENT_CALL_END = 6,       /* call, call_end; text: of a broken one why */
  Q3E_EVENT_END = 7,            /* finish, stop_string; the last event */
  Q3E_EVENT_PROMPT_TOKEN = 8    /* of the prompt, in its order, from the second on, where asked for: token, top */
} q3e_event_kind;

/* broken: it was no call after all, and its text comes as content; cut: the answer ended within it. */
typedef enum { Q3E_CALL_COMPLETE = 0, Q3E_CALL_BROKEN = 1, Q3E_CALL_CUT = 2 } q3e_call_end;

/* What is not of its kind is 0 or null. Of the library, until the callback returns. */
typedef struct {
  q3e_event_kind kind;
  uint32_t call;    /* of calls: which, from 0 */
  const char* text; /* whole characters, with a zero behind them */
  size_t length;    /* bytes of text */
  q3e_call_end call_end;
  q3e_finish finish;
  const char* stop_string; /* that ended the answer, if one did */
  q3e_logprob token;
  const q3e_logprob* top; /* [top_count] the most probable first */
  size_t top_count;
  const q3e_usage* usage; /* in every event */
} q3e_event;

/* Returns 0 to go on; anything else stops the answer, and nothing of it comes any more. May call any function but those that run
 * or free this answer. */
typedef int (*q3e_on_event)(void* data, const q3e_event* event);

/* Puts a request into the queue; it is copied. Refuses what does not fit. */
Q3E_API q3e_status q3e_answer_new(q3e_model* model, const q3e_request* request, q3e_answer** answer);
/* Computes the answer to its end, and tells on_event (null: nobody) what comes of it; along with it whatever else is in the
 * queue. Q3E_OK when it ended by itself or was cut, Q3E_CANCELLED, or what it failed with. */
Q3E_API q3e_status q3e_answer_run(q3e_answer* answer, q3e_on_event on_event, void* data);
/* From any thread, a signal's handler included: q3e_answer_run ends within a layer where it is computed alone, else within the
 * step. */
Q3E_API void q3e_answer_cancel(q3e_answer* answer);
/* Ends it, too; nothing is computed for it any more. What was computed is found again by whoever begins alike. */
Q3E_API void q3e_answer_free(q3e_answer* answer);
Q3E_API q3e_finish q3e_answer_finish(const q3e_answer* answer);
/* size: sizeof *usage. */
Q3E_API q3e_status q3e_answer_usage(const q3e_answer* answer, q3e_usage* usage, size_t size);
/* All so far, the stop token included; *count of them. Valid until the answer runs on or is freed. */
Q3E_API const int32_t* q3e_answer_tokens(const q3e_answer* answer, size_t* count);
/* So far: without thoughts and calls. Valid as the tokens are. */
Q3E_API const char* q3e_answer_content(const q3e_answer* answer);
Q3E_API const char* q3e_answer_reasoning(const q3e_answer* answer);

/* ---- what outlives an answer ---- */

/* Writes a conversation to a file: its tokens, what is still in memory of their KV cache, and a text of the caller's (null:
 * none), such as its messages as JSON. The file is readable for its owner alone, and takes the place of another at once or not at
 * all. */
Q3E_API q3e_status q3e_answer_save(const q3e_answer* answer, const char* note, const char* path);
Q3E_API q3e_status q3e_save(q3e_model* model, const int32_t* tokens, size_t count, const char* note, const char* path);
/* Reads one of the same model and KV type back into memory, as far as there is room: a prompt that begins as it does is not
 * computed again. tokens, note: as q3e_tokenize and q3e_detokenize give theirs. Q3E_FOREIGN_FILE for a file of another kind,
 * model, KV type or version of this library's numerics; Q3E_CORRUPT_FILE, Q3E_TRUNCATED_FILE. */
Q3E_API q3e_status q3e_restore(q3e_model* model, const char* path, int32_t* tokens, size_t capacity, size_t* count, char* note,
                               size_t note_capacity, size_t* note_length);

/* The embedding of a text, of length 1: what Qwen3-Embedding was trained for. instruction: of a query, what is looked for; null:
 * a document. values receives the first numbers, `capacity` at most, of *count, the hidden size, which is all that is told where
 * `values` is null. */
Q3E_API q3e_status q3e_embed(q3e_model* model, const char* text, const char* instruction, float* values, size_t capacity,
                             size_t* count);

/* How well each of `count` documents answers a query, from 0 to 1: the probability that a Qwen3-Reranker says yes, into scores
 * [count]. instruction: what makes a document right; null: the reranker's own, to answer a web search. What the prompts have in
 * common is computed once. */
Q3E_API q3e_status q3e_rerank(q3e_model* model, const char* query, const char* const* documents, size_t count,
                              const char* instruction, float* scores);

/* Of the process, now: resident_bytes, peak_bytes. Of answers that ended: tokens. Of the model: steps that were computed, bytes
 * that were read of what is streamed and seconds that threads waited for them, experts that were in memory when they were needed
 * or not. Now: answers and sessions that are computed, or wait. */
typedef struct {
  uint64_t resident_bytes, peak_bytes;
  uint64_t prompt_tokens, cached_tokens, answer_tokens;
  uint64_t steps, streamed_bytes;
  double streamed_wait_seconds;
  uint64_t expert_hits, expert_misses;
  uint32_t running, waiting;
  uint64_t drafted_tokens, accepted_draft_tokens; /* see q3e_settings_set_draft_tokens */
} q3e_metrics;
/* size: sizeof *metrics. */
Q3E_API q3e_status q3e_model_metrics(q3e_model* model, q3e_metrics* metrics, size_t size);

/* ---- sessions: token by token ---- */

typedef struct q3e_session q3e_session;

/* sampling: null: the model's own, for answers without thinking. Q3E_BAD_ARGUMENT when all sessions of the settings are in use.
 */
Q3E_API q3e_status q3e_session_new(q3e_model* model, const q3e_sampling* sampling, uint64_t seed, q3e_session** session);
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

#ifdef __cplusplus
}
#endif

#endif
