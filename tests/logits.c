/* logits MODEL.q3e KV CHUNK ID...: feeds CHUNK tokens at a time and writes the raw float32 logits after each chunk to stdout. For
 * comparing machines bit by bit. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "qwen3edge.h"

static int fail(const char* what) {
  fprintf(stderr, "%s: %s\n", what, q3e_error_text());
  return 1;
}

static q3e_kv cache_type(const char* name) {
  if (!strcmp(name, "int4")) return Q3E_KV_INT4;
  if (!strcmp(name, "bf16")) return Q3E_KV_BF16;
  return strcmp(name, "f32") ? Q3E_KV_INT8 : Q3E_KV_F32;
}

int main(int argc, char** argv) {
  if (argc < 5) {
    fprintf(stderr, "usage: logits MODEL.q3e int8|int4|bf16|f32 CHUNK ID...\n");
    return 2;
  }
  q3e_settings* settings = NULL;
  if (q3e_settings_new(&settings) != Q3E_OK) return fail("settings");
  q3e_settings_set_context(settings, 512);
  q3e_settings_set_threads(settings, 1);
  q3e_settings_set_kv(settings, cache_type(argv[2]));
  q3e_settings_set_texts(settings, 0);
  const int chunk = atoi(argv[3]), count = argc - 4;
  q3e_model* model = NULL;
  q3e_session* session = NULL;
  if (q3e_load(argv[1], settings, &model) != Q3E_OK) return fail("load");
  if (q3e_session_new(model, NULL, 0, &session) != Q3E_OK) return fail("session");
  const size_t vocabulary = q3e_vocabulary(model);
  int32_t* tokens = malloc((size_t)count * sizeof *tokens);
  float* logits = malloc(vocabulary * sizeof *logits);
  if (!tokens || !logits || chunk < 1) return 1;
  for (int i = 0; i < count; ++i) tokens[i] = (int32_t)strtol(argv[4 + i], NULL, 10);
  for (int i = 0; i < count; i += chunk) {
    const int take = count - i < chunk ? count - i : chunk;
    if (q3e_forward(session, tokens + i, (size_t)take, logits) != Q3E_OK) return fail("forward");
    if (fwrite(logits, sizeof *logits, vocabulary, stdout) != vocabulary) return 1;
  }
  free(logits);
  free(tokens);
  q3e_session_free(session);
  q3e_model_free(model);
  q3e_settings_free(settings);
  return 0;
}
