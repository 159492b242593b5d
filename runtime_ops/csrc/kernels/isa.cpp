#include "kernels/isa.h"

#if defined(__x86_64__)
#include <cpuid.h>

#include <cstdint>
#endif

namespace regc::kernels {

#if defined(__x86_64__)
namespace {

constexpr bool has(uint32_t word, int bit) { return (word >> bit & 1U) != 0; }

// State components that the operating system saves on a context switch (XCR0). The instruction is written out
// so that this file needs no flag beyond the baseline.
uint64_t saved_state() {
  uint32_t low = 0;
  uint32_t high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return uint64_t{high} << 32 | low;
}

}  // namespace

Isa best_isa() noexcept {
  constexpr uint64_t kYmm = 0x6;
  constexpr uint64_t kZmm = 0xE6;
  uint32_t a = 0;
  uint32_t b = 0;
  uint32_t c = 0;
  uint32_t d = 0;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0) return Isa::generic;
  const bool fma = has(c, 12);
  const bool avx = has(c, 27) && has(c, 28);  // OSXSAVE, without which xgetbv faults, and AVX
  if (!fma || !avx || __get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return Isa::generic;
  const uint64_t state = saved_state();
  if (!has(b, 5) || (state & kYmm) != kYmm) return Isa::generic;
  const bool f = has(b, 16);
  const bool dq = has(b, 17);
  const bool bw = has(b, 30);
  const bool vl = has(b, 31);
  const bool vnni = has(c, 11);
  return f && dq && bw && vl && vnni && (state & kZmm) == kZmm ? Isa::avx512 : Isa::avx2;
}
#else
Isa best_isa() noexcept { return Isa::generic; }
#endif

}  // namespace regc::kernels
