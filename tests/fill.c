/* fill MODEL.q3e MEMORY CONTEXT SESSIONS: fills the context of all sessions within MEMORY bytes (0: what there is), and prints
 * the process's peak, the plan's and the budget. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "qwen3edge.h"

static int fail(const char* what) {
  fprintf(stderr, "%s: %s\n", what, q3e_error_text());
  return 1;
}

/* VmHWM in bytes */
static unsigned long long peak_bytes(void) {
  char line[256];
  unsigned long long kilobytes = 0;
  FILE* file = fopen("/proc/self/status", "r");
  if (!file) return 0;
  while (fgets(line, sizeof line, file))
    if (!strncmp(line, "VmHWM:", 6)) kilobytes = strtoull(line + 6, NULL, 10);
  fclose(file);
  return kilobytes * 1024;
}

int main(int argc, char** argv) {
  if (argc != 5) {
    fprintf(stderr, "usage: fill MODEL.q3e MEMORY CONTEXT SESSIONS\n");
    return 2;
  }
  q3e_settings* settings = NULL;
  const uint32_t sessions = (uint32_t)strtoul(argv[4], NULL, 10);
  if (q3e_settings_new(&settings) != Q3E_OK) return fail("settings");
  q3e_settings_set_memory(settings, strtoull(argv[2], NULL, 10));
  q3e_settings_set_context(settings, (uint32_t)strtoul(argv[3], NULL, 10));
  q3e_settings_set_sessions(settings, sessions);
  q3e_settings_set_threads(settings, 2);
  q3e_settings_set_texts(settings, 0);
  q3e_memory_plan plan;
  q3e_model* model = NULL;
  if (q3e_plan(argv[1], settings, &plan, sizeof plan) != Q3E_OK) return fail("plan");
  if (q3e_load(argv[1], settings, &model) != Q3E_OK) return fail("load");
  const uint32_t context = q3e_context(model);
  int32_t* tokens = malloc(context * sizeof *tokens);
  if (!tokens) return 1;
  for (uint32_t i = 0; i < sessions; ++i) {
    q3e_session* session = NULL; /* all stay until the end */
    if (q3e_session_new(model, NULL, 0, &session) != Q3E_OK) return fail("session");
    /* of its own from the first token on: sessions that begin alike share memory */
    for (uint32_t t = 0; t < context; ++t) tokens[t] = (int32_t)((t * 7 + i) % 400);
    if (q3e_forward(session, tokens, context - 8, NULL) != Q3E_OK) return fail("forward");
    for (int t = 0; t < 8; ++t) {
      if (q3e_sample(session, tokens) != Q3E_OK) return fail("sample");
      if (q3e_forward(session, tokens, 1, NULL) != Q3E_OK) return fail("forward");
    }
  }
  printf("%llu %llu %llu\n", peak_bytes(), (unsigned long long)plan.peak, (unsigned long long)plan.budget);
  return 0;
}
