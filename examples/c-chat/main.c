/* A chat: c-chat MODEL.q3e [SEED [CONTEXT]]
 * Reads questions, one a line, and streams the answers; thoughts go to stderr. Ctrl-C ends the answer that runs, or the program
 * where none does. */
#define _POSIX_C_SOURCE 200809L
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "qwen3edge.h"

static q3e_answer* volatile running; /* what Ctrl-C ends */

static void interrupt(int number) {
  (void)number;
  if (!running) _exit(130);
  q3e_answer_cancel(running);
}

/* The library's threads take no Ctrl-C, so that its handler never meets an answer that this thread frees. */
static void take_interrupts(int how) {
  sigset_t interrupts;
  sigemptyset(&interrupts);
  sigaddset(&interrupts, SIGINT);
  pthread_sigmask(how, &interrupts, NULL);
}

/* The library's texts say themselves which call it was. */
static int fail(void) {
  fprintf(stderr, "c-chat: %s\n", q3e_error_text());
  return 1;
}

static int print(void* data, const q3e_event* event) {
  (void)data;
  if (event->kind == Q3E_EVENT_REASONING || event->kind == Q3E_EVENT_CONTENT) {
    FILE* out = event->kind == Q3E_EVENT_CONTENT ? stdout : stderr;
    fwrite(event->text, 1, event->length, out);
    fflush(out);
  }
  return 0;
}

static int answer(q3e_model* model, q3e_request* request) {
  q3e_answer* asked = NULL;
  q3e_status status;
  if (q3e_answer_new(model, request, &asked) != Q3E_OK) return fail();
  running = asked;
  status = q3e_answer_run(asked, print, NULL);
  running = NULL;
  printf("\n");
  fflush(stdout);
  if (status == Q3E_CANCELLED) fprintf(stderr, "(cancelled)\n");
  if (status == Q3E_OK || status == Q3E_CANCELLED) status = q3e_request_add_answer(request, asked);
  q3e_answer_free(asked);
  return status == Q3E_OK ? 0 : fail();
}

static int chat(q3e_model* model, q3e_request* request) {
  char* line = NULL;
  size_t capacity = 0;
  int failed = 0;
  while (!failed && getline(&line, &capacity, stdin) > 0) {
    line[strcspn(line, "\r\n")] = '\0';
    failed = q3e_request_add_message(request, "user", line) != Q3E_OK ? fail() : answer(model, request);
  }
  free(line);
  return failed;
}

/* A whole number up to `most`, in digits alone; 0 for anything else. */
static int number(const char* text, unsigned long long most, unsigned long long* value) {
  char* end;
  *value = strtoull(text, &end, 10);
  if (text[0] >= '0' && text[0] <= '9' && *end == '\0' && *value <= most) return 1;
  fprintf(stderr, "c-chat: expected a whole number from 0 to %llu, found '%.60s'\n", most, text);
  return 0;
}

int main(int argc, char** argv) {
  unsigned long long seed = 0, context = 0;
  q3e_settings* settings = NULL;
  q3e_model* model = NULL;
  q3e_request* request = NULL;
  struct sigaction action;
  int failed = 1;
  if (argc < 2 || argc > 4) {
    fprintf(stderr, "usage: c-chat MODEL.q3e [SEED [CONTEXT]]\n");
    return 2;
  }
  if ((argc > 2 && !number(argv[2], UINT64_MAX, &seed)) || (argc > 3 && !number(argv[3], UINT32_MAX, &context))) return 2;
  memset(&action, 0, sizeof action);
  action.sa_handler = interrupt;
  sigaction(SIGINT, &action, NULL);
  take_interrupts(SIG_BLOCK);
  if (q3e_settings_new(&settings) != Q3E_OK || q3e_settings_set_context(settings, (uint32_t)context) != Q3E_OK ||
      q3e_load(argv[1], settings, &model) != Q3E_OK || q3e_request_new(&request) != Q3E_OK ||
      (argc > 2 && q3e_request_set_seed(request, seed) != Q3E_OK)) {
    fail();
  } else {
    take_interrupts(SIG_UNBLOCK);
    failed = chat(model, request);
  }
  q3e_request_free(request);
  q3e_model_free(model);
  q3e_settings_free(settings);
  return failed;
}
