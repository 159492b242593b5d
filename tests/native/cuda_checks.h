// Checks of products on a GPU: random operands of every format, for few and for many rows.
#pragma once

#include "cuda/stream.h"
#include "cuda_defined.h"
#include "cuda_expected.h"

namespace regc::test {

constexpr float kLargest = 3.4e38F;  // rounds to infinity as a bfloat16

// Of formats for float activations but RF8: how products of many rows round (cuda/split.h), or whether they are chains,
// of which all bits are known.
inline Rounded rounded_of(const Operands& o) {
  return o.size.rows > cuda::kStreamRows && cuda::has_bfloat_tiles() ? Rounded::factors : Rounded::nothing;
}
inline bool is_chain(const Operands& o) { return o.size.rows > cuda::kStreamRows && !cuda::has_bfloat_tiles(); }

inline void check_ternary(Random& random, cuda::Format format) {
  const bool five = format == cuda::Format::ternary5 || format == cuda::Format::ternary5_float;
  const bool exact = format == cuda::Format::ternary_float || format == cuda::Format::ternary5_float;
  const Size size = drawn_size(random);
  const size_t block = five ? kernels::kTernary5Block : kernels::kTernaryBlock;
  const PackedProblem problem(random, size, block);
  const DeviceMatrix device(problem.weight, size, format);
  Operands o(random, size, !exact);
  if (exact) o.spoil(random, kLargest);
  Exact<float> expected(size.rows * size.outputs);
  (exact ? expect_float : expect_int8)(problem.weight, block, o, expected.data());
  const Exact<float> bound = bounds(o, problem.weight, rounded_of(o), [&](size_t n, size_t k) {
    return ternary_defined(problem.weight, block, n, k);
  });
  o.compare(device.weight, expected, exact && !is_chain(o) ? &bound : nullptr);
}

inline void check_rf8(Random& random, cuda::Format format) {
  const Size size = drawn_size(random);
  const PackedProblem problem(random, size, kernels::kRF8Block);
  const DeviceMatrix device(problem.weight, size, format);
  Operands o(random, size);
  o.spoil(random, size.rows > cuda::kStreamRows ? 1e30F : kLargest);  // 2^-11 more would be infinite
  Exact<float> expected(size.rows * size.outputs);
  expect_float(problem.weight, kernels::kRF8Block, o, expected.data());
  const kernels::Matrix& w = problem.weight;
  const Rounded rounded = size.rows > cuda::kStreamRows ? Rounded::rows : Rounded::nothing;
  const Exact<float> bound = bounds(o, w, rounded, [&](size_t n, size_t k) {
    const size_t unit = n / kTile * w.blocks + k / 4;
    return rf8_defined(w.codes[unit * kernels::kUnit + n % kTile / 4 * 16 + k % 4 / 2 * 8 + n % 4 * 2 + k % 2]);
  });
  o.compare(device.weight, expected, &bound);
}

inline void check_sparse(Random& random, cuda::Format format) {
  const bool coded = format == cuda::Format::sparse_rf8;
  const Size size = drawn_size(random);
  const SparseProblem problem(random, size, coded ? 1 : 4);
  const kernels::SparseMatrix& w = problem.weight;
  const DeviceSparse device(w, size, format);
  Operands o(random, size);
  o.spoil(random, kLargest);
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
  const auto value = [&](size_t n, size_t k) { return matrix[n * size.inputs + k]; };
  const Exact<float> bound = bounds(o, w, rounded_of(o), value);
  o.compare(device.weight, expected, is_chain(o) ? nullptr : &bound);
}

inline void check_gated(Random& random, cuda::Format format) {
  const bool coded = DeviceGated::is_coded(format);
  const Size size = drawn_size(random);
  const GatedProblem problem(random, size, coded ? 1 : 4);
  const kernels::GatedMatrix& w = problem.weight;
  const DeviceGated device(w, size, format);
  Operands o(random, size);
  o.spoil(random, kLargest);
  Exact<float> expected(size.rows * size.outputs);
  Exact<float> gated(size.rows * size.inputs);
  const auto& kernels = kernels::generic::kKernels;
  const auto gate = DeviceGated::is_counted(format) ? kernels.gate_top : kernels.gate;
  gate({&w, o.exact.data(), size.rows, gated.data(), nullptr, nullptr, nullptr});
  kernels::GatedTask task{};
  task.x_stride = size.inputs;
  task.weight = &w;
  task.x = gated.data();
  task.out = {expected.data(), o.added.data(), o.ending};
  task.rows = size.rows;
  task.tile_end = size.tiles();
  (coded ? kernels.gated_rf8_panel : kernels.gated_panel)(task);
  const Exact<float> bound = bounds(o, w, rounded_of(o), [&](size_t n, size_t k) {
    return stored(w.values, k * size.tiles() * kTile + n, coded);
  });
  o.compare(device.weight, expected, is_chain(o) ? nullptr : &bound);
}

// More rows than a grid has room for are an error of every format, before anything is read.
inline void check_limits(Random&, cuda::Format format) {
  cuda::Weight w{};
  w.format = format;
  w.outputs = w.inputs = 1;
  const cuda::Out out{nullptr, nullptr, cuda::Type::float32, kernels::Ending::none};
  const size_t rows = size_t{65535} * 128 + 1;
  if (cuda::multiply(w, {nullptr, cuda::Type::float32}, rows, out, nullptr, nullptr) != cuda::kTooLarge)
    fail("too many rows are launched");
}

}  // namespace regc::test
