/* A log in short: sensor-log MODEL.q3e [CONTEXT] < log
 * Reads lines as they come and writes a summary whenever they fill the context, and at the end: of what the summary before said
 * and of the lines since. However long the log is, memory stays what the plan on stderr says. Nothing leaves the machine. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "qwen3edge.h"

enum { SUMMARY_TOKENS = 96, LINE_BYTES = 256, TEXT_BYTES = 1 << 16 };

typedef struct {
  q3e_model* model;
  q3e_request* request;
  char summary[TEXT_BYTES], lines[TEXT_BYTES], prompt[2 * TEXT_BYTES + 256];
  unsigned count; /* of lines since the summary */
} Log;

static int fail(void) {
  fprintf(stderr, "sensor-log: %s\n", q3e_error_text());
  return 1;
}

/* A question about the summary before and the lines so far. */
static int ask(Log* log) {
  snprintf(log->prompt, sizeof log->prompt, "%s%s%sSum up this log in one line, with what is unusual in it:\n%s",
           log->summary[0] ? "Before: " : "", log->summary, log->summary[0] ? "\n" : "", log->lines);
  return q3e_request_clear_messages(log->request) == Q3E_OK &&
         q3e_request_add_message(log->request, "user", log->prompt) == Q3E_OK;
}

/* Whether a summary has room behind the question. */
static int fits(Log* log, int* failed) {
  size_t tokens = 0;
  *failed = !ask(log) || q3e_request_tokens(log->model, log->request, NULL, 0, &tokens) != Q3E_OK;
  return !*failed && tokens + SUMMARY_TOKENS <= q3e_context(log->model);
}

static int print_summary(Log* log) {
  q3e_answer* answer = NULL;
  char* c;
  if (!ask(log) || q3e_answer_new(log->model, log->request, &answer) != Q3E_OK || q3e_answer_run(answer, NULL, NULL) != Q3E_OK) {
    q3e_answer_free(answer);
    return fail();
  }
  snprintf(log->summary, sizeof log->summary, "%s", q3e_answer_content(answer));
  q3e_answer_free(answer);
  for (c = log->summary; *c; ++c)
    if (*c == '\n' || *c == '\r') *c = ' ';
  printf("%u lines: %s\n", log->count, log->summary);
  fflush(stdout);
  log->lines[0] = '\0';
  log->count = 0;
  return 0;
}

/* One line, which is cut where it is too long; 0 at the end. */
static int read_line(char* line) {
  int c = 0;
  size_t length;
  if (!fgets(line, LINE_BYTES, stdin)) return 0;
  length = strcspn(line, "\r\n");
  if (line[length] == '\0')
    while (c != EOF && c != '\n') c = getchar();
  memcpy(line + length, "\n", 2);
  return 1;
}

static int run(Log* log) {
  char line[LINE_BYTES + 1];
  int failed = 0;
  while (!failed && read_line(line)) {
    const size_t before = strlen(log->lines);
    int full = before + strlen(line) >= sizeof log->lines;
    if (!full) {
      strcat(log->lines, line);
      full = !fits(log, &failed);
      if (failed) return fail();
      if (full) log->lines[before] = '\0';
    }
    if (full && log->count > 0) {
      failed = print_summary(log);
      strcpy(log->lines, line);
    }
    ++log->count;
  }
  return failed || (log->count > 0 && print_summary(log));
}

int main(int argc, char** argv) {
  q3e_settings* settings = NULL;
  q3e_sampling* greedy = NULL;
  q3e_memory_plan plan;
  Log* log = NULL;
  char* end = NULL;
  const unsigned long context = argc == 3 ? strtoul(argv[2], &end, 10) : 512;
  int failed;
  if (argc < 2 || argc > 3 || (end && *end) || context <= SUMMARY_TOKENS || context > UINT32_MAX) {
    fprintf(stderr, "usage: sensor-log MODEL.q3e [CONTEXT], of more than %d tokens\n", SUMMARY_TOKENS);
    return 2;
  }
  log = calloc(1, sizeof *log);
  failed = !log || q3e_settings_new(&settings) != Q3E_OK || q3e_settings_set_context(settings, (uint32_t)context) != Q3E_OK ||
           q3e_plan(argv[1], settings, &plan, sizeof plan) != Q3E_OK || q3e_load(argv[1], settings, &log->model) != Q3E_OK ||
           q3e_sampling_new(&greedy) != Q3E_OK || q3e_sampling_set_temperature(greedy, 0) != Q3E_OK ||
           q3e_request_new(&log->request) != Q3E_OK || q3e_request_set_sampling(log->request, greedy) != Q3E_OK ||
           q3e_request_set_max_tokens(log->request, SUMMARY_TOKENS) != Q3E_OK ||
           q3e_request_set_thinking(log->request, Q3E_THINKING_OFF) != Q3E_OK;
  if (failed) {
    fail();
  } else {
    fprintf(stderr, "%.1f MiB at most\n", (double)plan.peak / (1 << 20));
    failed = run(log);
  }
  if (log) {
    q3e_request_free(log->request);
    q3e_model_free(log->model);
  }
  q3e_sampling_free(greedy);
  q3e_settings_free(settings);
  free(log);
  return failed;
}
