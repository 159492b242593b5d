#include "kernels/isa.h"

#include <cstdlib>
#include <cstring>

#if defined(__x86_64__)
#include <cpuid.h>

#include <cstdint>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#elif defined(__aarch64__) && defined(__APPLE__)
#include <sys/sysctl.h>

#include <cstddef>
#endif

namespace regc::kernels {

#if defined(__x86_64__)
namespace {

constexpr bool has(uint32_t word, int bit) { return (word >> bit & 1U) != 0; }

struct Registers {
  uint32_t a, b, c, d;
};

// All zeros for a leaf that the CPU does not have.
Registers cpuid(uint32_t leaf, uint32_t subleaf) {
  Registers r{};
  return __get_cpuid_count(leaf, subleaf, &r.a, &r.b, &r.c, &r.d) != 0 ? r : Registers{};
}

// State components that the operating system saves on a context switch (XCR0). The instruction is written out
// so that this file needs no flag beyond the baseline.
uint64_t saved_state() {
  uint32_t low = 0;
  uint32_t high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return uint64_t{high} << 32 | low;
}

// Which instruction sets there are, indexed by Isa.
struct Found {
  bool set[kIsaCount] = {true};
  bool& operator[](Isa isa) { return set[static_cast<int>(isa)]; }
};

Found find() {
  constexpr uint64_t kYmm = 0x6;
  constexpr uint64_t kZmm = 0xE6;
  Found found;
  const Registers basic = cpuid(1, 0);
  const Registers extended = cpuid(7, 0);
  // OSXSAVE, without which xgetbv faults, and AVX.
  const uint64_t state = has(basic.c, 27) && has(basic.c, 28) ? saved_state() : 0;
  found[Isa::avx2] = has(basic.c, 12) && has(extended.b, 5) && (state & kYmm) == kYmm;
  if (!found[Isa::avx2]) return found;
  found[Isa::avxvnni] = extended.a >= 1 && has(cpuid(7, 1).a, 4);
  const bool f = has(extended.b, 16);
  const bool dq = has(extended.b, 17);
  const bool bw = has(extended.b, 30);
  const bool vl = has(extended.b, 31);
  const bool vnni = has(extended.c, 11);
  found[Isa::avx512] = f && dq && bw && vl && vnni && (state & kZmm) == kZmm;
#if defined(REGC_AVX512FP16)
  found[Isa::avx512fp16] = found[Isa::avx512] && has(extended.c, 1) && has(extended.d, 23);
#endif
  return found;
}

}  // namespace

Isa best_isa(Isa bound) noexcept {
  Found found = find();
  for (int i = static_cast<int>(bound); i > 0; --i) {
    if (found[static_cast<Isa>(i)]) return static_cast<Isa>(i);
  }
  return Isa::generic;
}
#elif defined(__aarch64__)
namespace {

bool has_dot_product() {
#if defined(__linux__)
  constexpr unsigned long kDotProduct = 1UL << 20;  // HWCAP_ASIMDDP, which older headers lack
  return (getauxval(AT_HWCAP) & kDotProduct) != 0;
#elif defined(__APPLE__)
  int value = 0;
  size_t size = sizeof(value);
  return sysctlbyname("hw.optional.arm.FEAT_DotProd", &value, &size, nullptr, 0) == 0 && value != 0;
#else
  return false;
#endif
}

}  // namespace

Isa best_isa(Isa bound) noexcept { return bound != Isa::generic && has_dot_product() ? Isa::neon : Isa::generic; }
#else
Isa best_isa(Isa) noexcept { return Isa::generic; }
#endif

const char* isa_bound() noexcept {
  const char* name = std::getenv("REGC_ISA");
  return name == nullptr || *name == '\0' ? nullptr : name;
}

namespace {

struct Allowed {
  Isa best[kIsaCount];  // by bound
  Allowed() noexcept {
    for (int i = 0; i < kIsaCount; ++i) best[i] = best_isa(static_cast<Isa>(i));
  }
};

}  // namespace

std::optional<Isa> isa_up_to(const char* name) noexcept {
  static const Allowed allowed;
  if (name == nullptr) return allowed.best[kIsaCount - 1];
  for (int i = 0; i < kIsaCount; ++i)
    if (std::strcmp(kIsaNames[i], name) == 0) return allowed.best[i];
  return std::nullopt;
}

}  // namespace regc::kernels
