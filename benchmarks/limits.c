/* What this machine can do at most, as JSON: bytes read from memory and multiply-adds, each per second.
 *
 *     cc -O3 -march=native -pthread limits.c -o limits && ./limits THREADS MEGABYTES
 *
 * The best of several runs: a limit is what the machine reaches when nothing else disturbs it. Multiply-adds are those
 * of independent chains in registers; a type without an instruction of its own is left out.
 */
#include <immintrin.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { CHAINS = 12, STEPS = 4000000, RUNS = 7, MOST_THREADS = 256 };

typedef struct {
  const char *memory;
  size_t bytes;
} Share;

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void *read_memory(void *user) {
  const Share *share = user;
  typedef uint64_t Vector __attribute__((vector_size(64)));
  Vector sum[8] = {{0}};
  for (size_t at = 0; at + sizeof(sum) <= share->bytes; at += sizeof(sum)) {
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) sum[i] ^= *(const Vector *)(share->memory + at + 64 * (size_t)i);
  }
  for (int i = 1; i < 8; ++i) sum[0] ^= sum[i];
  __asm__ volatile("" : : "x"(sum[0][0]));
  return NULL;
}

/* CHAINS chains of one instruction; the compiler must not know what they add up. */
#define CHAINS_OF(name, type, zero, step)                   \
  static void *name(void *user) {                           \
    (void)user;                                             \
    type sum[CHAINS];                                       \
    _Pragma("GCC unroll 12") for (int i = 0; i < CHAINS; ++i) sum[i] = zero; \
    for (int s = 0; s < STEPS; ++s) {                       \
      _Pragma("GCC unroll 12") for (int i = 0; i < CHAINS; ++i) __asm__ volatile(step : "+x"(sum[i]) : "x"(sum[i])); \
    }                                                       \
    return NULL;                                            \
  }

#if defined(__AVX512F__)
CHAINS_OF(float32, __m512, _mm512_setzero_ps(), "vfmadd231ps %1, %1, %0")
enum { FLOAT32 = 16 };
#else
CHAINS_OF(float32, __m256, _mm256_setzero_ps(), "vfmadd231ps %1, %1, %0")
enum { FLOAT32 = 8 };
#endif
#if defined(__AVX512VNNI__)
CHAINS_OF(int8, __m512i, _mm512_setzero_si512(), "vpdpbusd %1, %1, %0")
enum { INT8 = 64 };
#elif defined(__AVXVNNI__)
CHAINS_OF(int8, __m256i, _mm256_setzero_si256(), "{vex} vpdpbusd %1, %1, %0")
enum { INT8 = 32 };
#endif
#if defined(__AVX512BF16__)
CHAINS_OF(bfloat16, __m512, _mm512_setzero_ps(), "vdpbf16ps %1, %1, %0")
enum { BFLOAT16 = 32 };
#endif
#if defined(__AVX512FP16__)
CHAINS_OF(float16, __m512h, _mm512_setzero_ph(), "vfmadd231ph %1, %1, %0")
enum { FLOAT16 = 32 };
#endif

static double best_seconds(void *(*work)(void *), int threads, char *memory, size_t bytes) {
  double best = 1e9;
  for (int run = 0; run < RUNS; ++run) {
    pthread_t pool[MOST_THREADS];
    Share shares[MOST_THREADS];
    const double start = now();
    for (int i = 0; i < threads; ++i) {
      const size_t part = bytes / (size_t)threads / 512 * 512;
      shares[i] = (Share){memory + part * (size_t)i, part};
      pthread_create(&pool[i], NULL, work, &shares[i]);
    }
    for (int i = 0; i < threads; ++i) pthread_join(pool[i], NULL);
    const double seconds = now() - start;
    best = seconds < best ? seconds : best;
  }
  return best;
}

static double rate(void *(*work)(void *), int threads, int lanes) {
  return (double)threads * CHAINS * STEPS * lanes / best_seconds(work, threads, NULL, 0);
}

int main(int count, char **arguments) {
  const int threads = count > 1 ? atoi(arguments[1]) : 1;
  const size_t bytes = (size_t)(count > 2 ? atoi(arguments[2]) : 1024) << 20;
  char *memory = threads >= 1 && threads <= MOST_THREADS ? aligned_alloc(512, bytes) : NULL;
  if (memory == NULL) {
    fprintf(stderr, "limits: cannot use %d threads or %zu bytes\n", threads, bytes);
    return 1;
  }
  memset(memory, 1, bytes);
  printf("{\"read\": %.4g", (double)bytes / best_seconds(read_memory, threads, memory, bytes));
  printf(", \"float32\": %.4g", rate(float32, threads, FLOAT32));
#if defined(__AVX512VNNI__) || defined(__AVXVNNI__)
  printf(", \"int8\": %.4g", rate(int8, threads, INT8));
#endif
#if defined(__AVX512BF16__)
  printf(", \"bfloat16\": %.4g", rate(bfloat16, threads, BFLOAT16));
#endif
#if defined(__AVX512FP16__)
  printf(", \"float16\": %.4g", rate(float16, threads, FLOAT16));
#endif
  printf("}\n");
  free(memory);
  return 0;
}
