// Every kernel of every instruction set of this CPU against its generic twin, bit for bit.
//
//     kernels_test [CASES [SEED]]
//
// What is checked of each, on random operands: the same results as the generic kernel; nothing written outside of the
// output; nothing read outside of the operands, which end where their memory ends (a sanitizer has to watch); any cut
// into tiles, run by several threads at once. Operands are aligned as their element type demands and no more.
// A row of kernels.inc without a function check_<name> in one of the headers below does not compile.
#include <cstdio>
#include <cstdlib>

#include "encoding.h"
#include "gated.h"
#include "images.h"
#include "packed.h"
#include "sparse.h"

namespace {

using regc::kernels::Isa;
using regc::kernels::Kernels;

// Runs some cases of one kernel; whether all of them passed.
template <class Task, class Check>
bool passes(const char* isa, const char* name, int cases, unsigned seed, const regc::test::Pair<Task>& pair,
            const Kernels& generic, const Check& check) {
  for (int i = 0; i < cases; ++i) {
    const unsigned case_seed = seed + static_cast<unsigned>(i);
    regc::test::Random random(case_seed);
    try {
      check(random, pair, generic);
    } catch (const std::exception& error) {
      std::printf("%s %s: %s (seed %u)\n", isa, name, error.what(), case_seed);
      return false;
    }
  }
  return true;
}

int failures(Isa isa, int cases, unsigned seed) {
  const Kernels& kernels = regc::kernels::kernels_for(isa);
  const Kernels& generic = regc::kernels::kernels_for(Isa::generic);
  const char* isa_name = regc::kernels::kIsaNames[static_cast<int>(isa)];
  int failed = 0;
#define REGC_KERNEL(name, task)                                                                         \
  failed += passes<regc::kernels::task>(isa_name, #name, cases, seed,                                   \
                                        {kernels.name, generic.name, kernels.round_rows}, generic,      \
                                        regc::test::check_##name)                                       \
                ? 0                                                                                     \
                : 1;
#include "kernels/kernels.inc"
#undef REGC_KERNEL
  std::printf("%s: %d cases of each kernel, %d kernels failed\n", isa_name, cases, failed);
  return failed;
}

}  // namespace

int main(int count, char** arguments) {
  const int cases = count > 1 ? std::atoi(arguments[1]) : 50;
  const unsigned seed = count > 2 ? static_cast<unsigned>(std::atoi(arguments[2])) : 1;
  int failed = 0;
  for (int i = 0; i < regc::kernels::kIsaCount; ++i) {
    const auto isa = static_cast<Isa>(i);
    if (regc::kernels::best_isa(isa) == isa) failed += failures(isa, cases, seed);
  }
  return failed == 0 ? 0 : 1;
}
