/* Launches a kernel of qwen3edge through the CUDA driver: no Python, no CUDA toolkit, only the driver's library.
 *
 *   qwen3edge aot --target sm_87 --model 0.6B --out kernels
 *   cc -std=c99 -I kernels main.c -ldl -lm -o main && ./main kernels
 *
 * Computes silu(gate) * up of one row and compares it with the same on the CPU. Exit status: 0 equal, 1 not, 2 the
 * arguments are wrong, 3 no driver or device, or one of another architecture.
 */
#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "qwen3edge_kernels.h"

enum { kColumns = 3072 };

/* The driver's few functions that a launch takes (cuda.h declares them; handles are pointers, statuses ints). */
static struct {
  int (*init)(unsigned);
  int (*device_get)(int*, int);
  int (*context_retain)(void**, int);
  int (*context_set)(void*);
  int (*module_load)(void**, const char*);
  int (*function_get)(void**, void*, const char*);
  int (*function_set)(void*, int, int);
  int (*allocate)(uint64_t*, size_t);
  int (*to_device)(uint64_t, const void*, size_t);
  int (*to_host)(void*, uint64_t, size_t);
  int (*launch)(void*, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void*, void**, void**);
  int (*synchronize)(void);
} cu;

static int load_driver(void) {
  void* library = dlopen("libcuda.so.1", RTLD_NOW);
  if (!library) return 0;
  const char* names[] = {"cuInit",          "cuDeviceGet",         "cuDevicePrimaryCtxRetain", "cuCtxSetCurrent",
                         "cuModuleLoad",    "cuModuleGetFunction", "cuFuncSetAttribute",       "cuMemAlloc_v2",
                         "cuMemcpyHtoD_v2", "cuMemcpyDtoH_v2",     "cuLaunchKernel",           "cuCtxSynchronize"};
  for (size_t i = 0; i < sizeof names / sizeof *names; ++i) {
    void* symbol = dlsym(library, names[i]);
    if (!symbol) return 0;
    memcpy((char*)&cu + i * sizeof symbol, &symbol, sizeof symbol);
  }
  return 1;
}

static void check(int status, const char* what) {
  if (status == 0) return;
  fprintf(stderr, "%s: CUDA error %d\n", what, status);
  exit(3);
}

static uint16_t bf16_of(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return (uint16_t)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

static float float_of(uint16_t value) {
  uint32_t bits = (uint32_t)value << 16;
  float result;
  memcpy(&result, &bits, sizeof result);
  return result;
}

int main(int count, char** words) {
  if (count != 2) {
    fprintf(stderr, "usage: %s FOLDER\n", words[0]);
    return 2;
  }
  const qwen3edge_kernel* kernel = &qwen3edge_kernels[qwen3edge_silu_mul_bf16];
  printf("%d kernels for %s; %s: %u arguments, %u threads\n", QWEN3EDGE_KERNEL_COUNT, QWEN3EDGE_TARGET, kernel->name,
         (unsigned)kernel->arguments, (unsigned)kernel->threads);
  if (!load_driver() || cu.init(0) != 0) {
    fprintf(stderr, "expected a CUDA driver and device, found none\n");
    return 3;
  }
  int device;
  void *context, *module, *function;
  check(cu.device_get(&device, 0), "device");
  check(cu.context_retain(&context, device), "context");
  check(cu.context_set(context), "context");
  char path[4096];
  snprintf(path, sizeof path, "%s/%s", words[1], kernel->file);
  check(cu.module_load(&module, path), path);
  check(cu.function_get(&function, module, kernel->symbol), kernel->symbol);
  if (kernel->shared_bytes > 48 << 10) /* 8: CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES */
    check(cu.function_set(function, 8, (int)kernel->shared_bytes), "shared memory");

  static uint16_t gate_up[2 * kColumns], out[kColumns]; /* bf16 */
  for (int i = 0; i < 2 * kColumns; ++i) gate_up[i] = bf16_of((float)(i % 97 - 48) / 8);
  qwen3edge_silu_mul_bf16_arguments arguments = {0};
  arguments.columns = kColumns;
  check(cu.allocate(&arguments.gate_up, sizeof gate_up), "memory");
  check(cu.allocate(&arguments.out, sizeof out), "memory");
  check(cu.to_device(arguments.gate_up, gate_up, sizeof gate_up), "copy");
  void* pointers[QWEN3EDGE_MAX_ARGUMENTS];
  qwen3edge_silu_mul_bf16_pointers(&arguments, pointers);
  const qwen3edge_grid grid = qwen3edge_silu_mul_bf16_grid(1, kColumns);
  check(cu.launch(function, grid.x, grid.y, grid.z, kernel->threads, 1, 1, kernel->shared_bytes, NULL, pointers, NULL), "launch");
  check(cu.synchronize(), "launch");
  check(cu.to_host(out, arguments.out, sizeof out), "copy");
  for (int i = 0; i < kColumns; ++i) {
    const float gate = float_of(gate_up[i]), expected = gate / (1 + expf(-gate)) * float_of(gate_up[kColumns + i]);
    if (!(fabsf(float_of(out[i]) - expected) <= 0.01f * fabsf(expected) + 1e-6f)) {
      fprintf(stderr, "column %d: expected %g, found %g\n", i, expected, float_of(out[i]));
      return 1;
    }
  }
  printf("%d columns agree with the CPU\n", kColumns);
  return 0;
}
