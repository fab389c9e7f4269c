/* Continues a prompt given as token ids: c-tokens MODEL.q3e SEED MAX_TOKENS ID...
 * Prints the new ids on one line. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "qwen3edge.h"

/* The library's texts say themselves which call it was. */
static int fail(void) {
  fprintf(stderr, "c-tokens: %s\n", q3e_error_text());
  return 1;
}

/* A whole number up to `most`, in digits alone; 0 for anything else. */
static int number(const char* text, unsigned long long most, unsigned long long* value) {
  char* end;
  errno = 0;
  *value = strtoull(text, &end, 10);
  if (text[0] >= '0' && text[0] <= '9' && *end == '\0' && errno == 0 && *value <= most) return 1;
  fprintf(stderr, "c-tokens: expected a whole number from 0 to %llu, found '%.60s'\n", most, text);
  return 0;
}

static int generate(q3e_session* session, const q3e_model* model, int32_t* tokens, size_t count, unsigned max_tokens) {
  int status = 0;
  for (unsigned i = 0; i < max_tokens; ++i) {
    int32_t next;
    if (q3e_forward(session, tokens, count, NULL) != Q3E_OK || q3e_sample(session, &next) != Q3E_OK) {
      status = 1;
      break;
    }
    printf(i ? " %d" : "%d", next);
    if (q3e_is_stop_token(model, next)) break;
    tokens[0] = next;
    count = 1;
  }
  printf("\n");
  return status ? fail() : 0;
}

int main(int argc, char** argv) {
  if (argc < 5) {
    fprintf(stderr, "usage: c-tokens MODEL.q3e SEED MAX_TOKENS ID...\n");
    return 2;
  }
  const size_t count = (size_t)argc - 4;
  unsigned long long value, seed, max_tokens;
  if (!number(argv[2], UINT64_MAX, &seed) || !number(argv[3], INT32_MAX, &max_tokens)) return 2;
  int32_t* tokens = malloc(count * sizeof *tokens);
  if (!tokens) return 1;
  for (size_t i = 0; i < count; ++i) {
    if (!number(argv[4 + i], INT32_MAX, &value)) {
      free(tokens);
      return 2;
    }
    tokens[i] = (int32_t)value;
  }

  q3e_settings* settings = NULL;
  q3e_memory_plan plan;
  q3e_model* model = NULL;
  q3e_session* session = NULL;
  int status = 1;
  if (q3e_settings_new(&settings) != Q3E_OK || q3e_settings_set_context(settings, (uint32_t)(count + max_tokens)) != Q3E_OK ||
      q3e_settings_set_texts(settings, 0) != Q3E_OK || q3e_plan(argv[1], settings, &plan, sizeof plan) != Q3E_OK ||
      q3e_load(argv[1], settings, &model) != Q3E_OK || q3e_session_new(model, NULL, seed, &session) != Q3E_OK) {
    fail();
  } else {
    fprintf(stderr, "needs %.1f MiB: weights %.1f, KV cache %.1f, scratch %.1f, program %.1f\n", plan.peak / 1048576.0,
            (plan.weights + plan.buffers) / 1048576.0, plan.kv_cache / 1048576.0, plan.scratch / 1048576.0,
            plan.program / 1048576.0);
    status = generate(session, model, tokens, count, (unsigned)max_tokens);
  }
  q3e_session_free(session);
  q3e_model_free(model);
  q3e_settings_free(settings);
  free(tokens);
  return status;
}
