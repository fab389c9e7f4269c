/* Continues a prompt given as token ids: c-tokens MODEL.q3e SEED MAX_TOKENS ID...
 * Prints the new ids on one line. */
#include <stdio.h>
#include <stdlib.h>

#include "qwen3edge.h"

static int fail(const char* what) {
  fprintf(stderr, "%s: %s\n", what, q3e_error_text());
  return 1;
}

static int generate(q3e_session* session, const q3e_model* model, int32_t* tokens, size_t count, int max_tokens) {
  for (int i = 0; i < max_tokens; ++i) {
    int32_t next;
    if (q3e_forward(session, tokens, count, NULL) != Q3E_OK) return fail("forward");
    if (q3e_sample(session, &next) != Q3E_OK) return fail("sample");
    printf(i ? " %d" : "%d", next);
    if (q3e_is_stop_token(model, next)) break;
    tokens[0] = next;
    count = 1;
  }
  printf("\n");
  return 0;
}

int main(int argc, char** argv) {
  if (argc < 5) {
    fprintf(stderr, "usage: c-tokens MODEL.q3e SEED MAX_TOKENS ID...\n");
    return 2;
  }
  const size_t count = (size_t)argc - 4;
  int32_t* tokens = malloc(count * sizeof *tokens);
  if (!tokens) return 1;
  for (size_t i = 0; i < count; ++i) tokens[i] = (int32_t)strtol(argv[4 + i], NULL, 10);

  q3e_settings settings = q3e_default_settings();
  settings.context = 512;
  q3e_sampling sampling = q3e_default_sampling();
  sampling.seed = strtoull(argv[2], NULL, 10);

  q3e_memory_plan plan;
  if (q3e_plan(argv[1], &settings, &plan) != Q3E_OK) return fail("plan");
  fprintf(stderr, "needs %.1f MiB: weights %.1f, KV cache %.1f, scratch %.1f, program %.1f\n", plan.peak / 1048576.0,
          (plan.weights + plan.buffers) / 1048576.0, plan.kv_cache / 1048576.0, plan.scratch / 1048576.0,
          plan.program / 1048576.0);

  q3e_model* model = NULL;
  q3e_session* session = NULL;
  int status = 1;
  if (q3e_load(argv[1], &settings, &model) != Q3E_OK)
    fail("load");
  else if (q3e_session_new(model, &sampling, &session) != Q3E_OK)
    fail("session");
  else
    status = generate(session, model, tokens, count, atoi(argv[3]));
  q3e_session_free(session);
  q3e_model_free(model);
  free(tokens);
  return status;
}
