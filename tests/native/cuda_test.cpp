// The CUDA kernels on the CPU, in the emulation of tests/native/cuda, against the library's generic kernels: the
// decoding of all codes, products of random operands of every format, for few and for many rows, tables and sums.
//
//     cuda_test [CASES [SEED]]
//
// Integer products, and the chains of devices without tiles of bfloat16, have to be the same bits. Operands lie in
// memory of exactly their size, which a sanitizer watches; results between guards.
#include <cstdio>
#include <cstdlib>

#include "cuda_checks.h"
#include "cuda_decoding.h"
#include "cuda_tables.h"

namespace {

using regc::cuda::Format;

template <class What>
bool passes(const char* name, What what, void (*check)(regc::test::Random&, What), int cases, unsigned seed) {
  for (int i = 0; i < cases; ++i) {
    const unsigned case_seed = seed + static_cast<unsigned>(i);
    regc::test::Random random(case_seed);
    regc::emulation::Machine::instance().seed(case_seed);
    regc::emulation::Machine::instance().bfloat_tiles = case_seed % 4 != 0;
    try {
      check(random, what);
    } catch (const std::exception& error) {
      std::printf("%s: %s (seed %u)\n", name, error.what(), case_seed);
      return false;
    }
  }
  return true;
}

}  // namespace

int main(int count, char** arguments) {
  using namespace regc::test;
  const int cases = count > 1 ? std::atoi(arguments[1]) : 30;
  const unsigned seed = count > 2 ? static_cast<unsigned>(std::atoi(arguments[2])) : 1;
  const struct {
    const char* name;
    Format format;
    void (*check)(Random&, Format);
  } kFormats[] = {
      {"ternary", Format::ternary, check_ternary},
      {"ternary5", Format::ternary5, check_ternary},
      {"ternary_float", Format::ternary_float, check_ternary},
      {"ternary5_float", Format::ternary5_float, check_ternary},
      {"rf8", Format::rf8, check_rf8},
      {"sparse", Format::sparse, check_sparse},
      {"sparse_rf8", Format::sparse_rf8, check_sparse},
      {"gated", Format::gated, check_gated},
      {"gated_rf8", Format::gated_rf8, check_gated},
      {"gated_topk", Format::gated_topk, check_gated},
      {"gated_topk_rf8", Format::gated_topk_rf8, check_gated},
  };
  int failed = 0;
  try {
    check_decoding();
  } catch (const std::exception& error) {
    std::printf("decoding: %s\n", error.what());
    ++failed;
  }
  for (const auto& format : kFormats) {
    failed += passes(format.name, format.format, check_limits, 1, seed) ? 0 : 1;
    failed += passes(format.name, format.format, format.check, cases, seed) ? 0 : 1;
  }
  using Layout = regc::cuda::Table::Layout;
  failed += passes("table rf8", Layout::rf8, check_table, cases, seed) ? 0 : 1;
  failed += passes("table rf8 in tiles", Layout::rf8_tiled, check_table, cases, seed) ? 0 : 1;
  failed += passes("table ternary", Layout::ternary, check_table, cases, seed) ? 0 : 1;
  failed += passes("table ternary in tiles", Layout::ternary_tiled, check_table, cases, seed) ? 0 : 1;
  failed += passes("add", 0, check_add, cases, seed) ? 0 : 1;
  std::printf("%d cases of each format, %d failed\n", cases, failed);
  return failed == 0 ? 0 : 1;
}
