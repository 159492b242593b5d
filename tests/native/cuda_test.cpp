// The CUDA kernels on the CPU, in the emulation of tests/native/cuda, against the library's generic kernels: the
// decoding of all codes, products of random operands of every format, for few and for many rows, tables and sums.
//
//     cuda_test [CASES [SEED]]
//
// Integer products, and float32 chains, have to be the same bits. Operands lie in memory of exactly their size, which a
// sanitizer watches; results between guards.
#include <cstdio>

#include "cuda/decode.h"
#include "cuda/elements.h"
#include "cuda/stream.h"
#include "cuda_problems.h"
#include "cuda_tables.h"

namespace regc::kernels::generic {
extern const Kernels kKernels;
}

namespace regc::test {

void check_decoding() {
  for (uint32_t code = 0; code < 256; ++code) {
    if (cuda::rf8_value(code) != rf8_defined(code)) fail("rf8_value");
    uint32_t halves[2];
    cuda::rf8_halves_of(code | 0x38U << 8 | (255 - code) << 16 | code << 24, halves);
    const uint32_t parts[4] = {code, 0x38, 255 - code, code};
    for (int i = 0; i < 4; ++i)
      if (cuda::half_to_float(static_cast<uint16_t>(halves[i / 2] >> 16 * (i % 2))) != rf8_defined(parts[i]))
        fail("rf8_halves");
    uint32_t two[4];
    uint32_t five[5];
    const uint32_t word = code | (255 - code) << 8 | code << 16 | 7 * code % 256 << 24;
    cuda::TwoBits::fields(word, two);
    cuda::FiveTrits::fields(word, five);
    for (int j = 0; j < 4; ++j) {
      uint32_t fraction = word >> 8 * j & 255;
      for (int p = 0; p < 4; ++p)
        if ((two[p] >> 8 * j & 255) != (fraction >> 2 * p & 3)) fail("TwoBits");
      for (int p = 0; p < 5; ++p, fraction = 3 * fraction % 256)
        if ((five[p] >> 8 * j & 255) != 3 * fraction / 256) fail("FiveTrits");
    }
    for (uint32_t multiplier = 0; multiplier <= kernels::kMaxMultiplier; ++multiplier) {
      const uint32_t levels = cuda::ternary_levels(0x02010002U, multiplier);
      const int expected[4] = {1, -1, 0, 1};
      for (int j = 0; j < 4; ++j)
        if (static_cast<int8_t>(levels >> 8 * j) != expected[j] * static_cast<int>(multiplier)) fail("ternary_levels");
    }
  }
}

// Rows of float32 as the generic kernels read them, in whole blocks.
Exact<float> padded_rows(const Operands& o, size_t padded) {
  Exact<float> x(o.size.rows * padded);
  std::fill_n(x.data(), x.size(), 0.0F);
  for (size_t row = 0; row < o.size.rows; ++row)
    std::copy_n(o.exact.data() + row * o.size.inputs, o.size.inputs, x.data() + row * padded);
  return x;
}

kernels::MatMulTask task_of(const kernels::Matrix& w, const Operands& o, float* y) {
  kernels::MatMulTask task{};
  task.weight = &w;
  task.out = {y, o.added.data(), o.ending};
  task.rows = o.size.rows;
  task.tile_end = o.size.tiles();
  return task;
}

void expect_int8(const kernels::Matrix& w, size_t block, const Operands& o, float* y) {
  const size_t padded = w.blocks * block;
  Exact<uint8_t> q(o.size.rows * padded);
  Exact<float> scale(o.size.rows);
  Exact<int32_t> sums(o.size.rows * w.groups);
  const auto& kernels = kernels::generic::kKernels;
  kernels.quantize({o.exact.data(), o.size.rows, w.inputs, padded, 0, q.data(), scale.data(), sums.data(),
                    w.group_blocks * block, w.groups});
  kernels::MatMulTask task = task_of(w, o, y);
  task.x = q.data();
  task.x_stride = padded;
  task.row_scale = scale.data();
  task.sums = sums.data();
  (block == kernels::kTernaryBlock ? kernels.ternary_stream : kernels.ternary5_stream)(task);
}

void expect_float(const kernels::Matrix& w, size_t block, const Operands& o, float* y) {
  const size_t padded = w.blocks * block;
  const Exact<float> x = padded_rows(o, padded);
  const auto& kernels = kernels::generic::kKernels;
  kernels::MatMulTask task = task_of(w, o, y);
  task.x = reinterpret_cast<const uint8_t*>(x.data());
  task.x_stride = padded * sizeof(float);
  const auto kernel = block == kernels::kTernaryBlock    ? kernels.ternary_float_stream
                      : block == kernels::kTernary5Block ? kernels.ternary5_float_stream
                                                         : kernels.rf8_stream;
  kernel(task);
}

// The largest rounding errors of x * |W| * scale in float32 and, where rows are rounded, in float16.
template <class Value>
Exact<float> bounds(const Operands& o, const kernels::Affine& w, bool rounded, const Value& value) {
  Exact<float> bound(o.size.rows * o.size.outputs);
  for (size_t row = 0; row < o.size.rows; ++row) {
    for (size_t n = 0; n < o.size.outputs; ++n) {
      double sum = 0;
      double largest = 0;
      for (size_t k = 0; k < o.size.inputs; ++k) {
        const double x = std::fabs(static_cast<double>(o.exact[row * o.size.inputs + k]));
        sum += x * std::fabs(static_cast<double>(value(n, k)));
        largest = std::max(largest, x);
      }
      const double each = static_cast<double>(o.size.inputs + 8) * 0x1p-23 + (rounded ? 0x1p-11 : 0);
      const double lost = rounded ? static_cast<double>(o.size.inputs) * largest * 0x1p-31 : 0;
      const double scale = std::fabs(static_cast<double>(w.scale[n]));
      bound[row * o.size.outputs + n] = static_cast<float>((sum * each + lost) * scale);
    }
  }
  return bound;
}

// The level of a weight, multiplier times trit, by the layouts of runtime_ops/formats.
float ternary_defined(const kernels::Matrix& w, size_t block, size_t n, size_t k) {
  const size_t unit = (n / kTile * w.blocks + k / block) * kernels::kUnit + n % kTile * 4 + k % block % 4;
  uint32_t fraction = w.codes[unit];
  const size_t step = k % block / 4;
  for (size_t i = 0; block == kernels::kTernary5Block && i < step; ++i) fraction = 3 * fraction % 256;
  const uint32_t field = block == kernels::kTernaryBlock ? fraction >> 2 * step & 3 : 3 * fraction / 256;
  const size_t group = k / block / w.group_blocks;
  return static_cast<float>((static_cast<int>(field) - 1) * w.multiplier[(n / kTile * w.groups + group) * kTile + n % kTile]);
}

void check_ternary(Random& random, cuda::Format format) {
  const bool five = format == cuda::Format::ternary5 || format == cuda::Format::ternary5_float;
  const bool exact = format == cuda::Format::ternary_float || format == cuda::Format::ternary5_float;
  const Size size = drawn_size(random);
  const size_t block = five ? kernels::kTernary5Block : kernels::kTernaryBlock;
  const PackedProblem problem(random, size, block);
  const DeviceMatrix device(problem.weight, size, format);
  const Operands o(random, size, !exact);
  Exact<float> expected(size.rows * size.outputs);
  (exact ? expect_float : expect_int8)(problem.weight, block, o, expected.data());
  const Exact<float> bound = bounds(o, problem.weight, false, [&](size_t n, size_t k) {
    return ternary_defined(problem.weight, block, n, k);
  });
  o.compare(device.weight, expected, exact && size.rows <= cuda::kStreamRows ? &bound : nullptr);
}

void check_rf8(Random& random, cuda::Format format) {
  const Size size = drawn_size(random);
  const PackedProblem problem(random, size, kernels::kRF8Block);
  const DeviceMatrix device(problem.weight, size, format);
  const Operands o(random, size);
  Exact<float> expected(size.rows * size.outputs);
  expect_float(problem.weight, kernels::kRF8Block, o, expected.data());
  const kernels::Matrix& w = problem.weight;
  const Exact<float> bound = bounds(o, w, size.rows > cuda::kStreamRows, [&](size_t n, size_t k) {
    const size_t unit = n / kTile * w.blocks + k / 4;
    return rf8_defined(w.codes[unit * kernels::kUnit + n % kTile / 4 * 16 + k % 4 / 2 * 8 + n % 4 * 2 + k % 2]);
  });
  o.compare(device.weight, expected, &bound);
}

float stored(const uint8_t* values, size_t i, bool coded) {
  return coded ? rf8_defined(values[i]) : reinterpret_cast<const float*>(values)[i];
}

void check_sparse(Random& random, cuda::Format format) {
  const bool coded = format == cuda::Format::sparse_rf8;
  const Size size = drawn_size(random);
  const SparseProblem problem(random, size, coded ? 1 : 4);
  const kernels::SparseMatrix& w = problem.weight;
  const DeviceSparse device(w, size, format);
  const Operands o(random, size);
  Exact<float> expected(size.rows * size.outputs);
  const Exact<float> x = padded_rows(o, problem.padded());
  const auto& kernels = kernels::generic::kKernels;
  const kernels::Out out{expected.data(), o.added.data(), o.ending};
  (coded ? kernels.sparse_rf8_stream : kernels.sparse_stream)(
      {&w, x.data(), problem.padded(), nullptr, out, size.rows, 0, size.tiles()});
  std::vector<float> matrix(size.outputs * size.inputs);
  for (size_t n = 0; n < size.outputs; ++n) {
    for (int32_t block = w.start[n / kTile]; block < w.start[n / kTile + 1]; ++block) {
      for (size_t i = 0; i < size_t{1} << w.block_log2; ++i) {
        const size_t k = (static_cast<size_t>(w.index[block]) << w.block_log2) + i;
        const size_t at = (static_cast<size_t>(block) << w.block_log2) + i;
        if (k < size.inputs) matrix[n * size.inputs + k] = stored(w.values, at * kTile + n % kTile, coded);
      }
    }
  }
  const Exact<float> bound = bounds(o, w, false, [&](size_t n, size_t k) { return matrix[n * size.inputs + k]; });
  o.compare(device.weight, expected, size.rows > cuda::kStreamRows ? nullptr : &bound);
}

void check_gated(Random& random, cuda::Format format) {
  const bool coded = format == cuda::Format::gated_rf8;
  const Size size = drawn_size(random);
  const GatedProblem problem(random, size, coded ? 1 : 4);
  const kernels::GatedMatrix& w = problem.weight;
  const DeviceGated device(w, size, format);
  const Operands o(random, size);
  Exact<float> expected(size.rows * size.outputs);
  Exact<float> gated(size.rows * size.inputs);
  const auto& kernels = kernels::generic::kKernels;
  kernels.gate({&w, o.exact.data(), size.rows, gated.data(), nullptr, nullptr, nullptr});
  kernels::GatedTask task{};
  task.x_stride = size.inputs;
  task.weight = &w;
  task.x = gated.data();
  task.out = {expected.data(), o.added.data(), o.ending};
  task.rows = size.rows;
  task.tile_end = size.tiles();
  (coded ? kernels.gated_rf8_panel : kernels.gated_panel)(task);
  const Exact<float> bound = bounds(o, w, false, [&](size_t n, size_t k) {
    return stored(w.values, k * size.tiles() * kTile + n, coded);
  });
  o.compare(device.weight, expected, size.rows > cuda::kStreamRows ? nullptr : &bound);
}

}  // namespace regc::test

namespace {

using regc::cuda::Format;

template <class What>
bool passes(const char* name, What what, void (*check)(regc::test::Random&, What), int cases, unsigned seed) {
  for (int i = 0; i < cases; ++i) {
    const unsigned case_seed = seed + static_cast<unsigned>(i);
    regc::test::Random random(case_seed);
    regc::emulation::Machine::instance().seed(case_seed);
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
  };
  int failed = 0;
  try {
    check_decoding();
  } catch (const std::exception& error) {
    std::printf("decoding: %s\n", error.what());
    ++failed;
  }
  for (const auto& format : kFormats) failed += passes(format.name, format.format, format.check, cases, seed) ? 0 : 1;
  using Layout = regc::cuda::Table::Layout;
  failed += passes("table rf8", Layout::rf8, check_table, cases, seed) ? 0 : 1;
  failed += passes("table rf8 in tiles", Layout::rf8_tiled, check_table, cases, seed) ? 0 : 1;
  failed += passes("table ternary", Layout::ternary, check_table, cases, seed) ? 0 : 1;
  failed += passes("table ternary in tiles", Layout::ternary_tiled, check_table, cases, seed) ? 0 : 1;
  failed += passes("add", 0, check_add, cases, seed) ? 0 : 1;
  std::printf("%d cases of each format, %d failed\n", cases, failed);
  return failed == 0 ? 0 : 1;
}
