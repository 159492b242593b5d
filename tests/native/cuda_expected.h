// What products on a GPU are compared with: the library's generic kernels, and how far float32 may be from them.
#pragma once

#include "cuda_problems.h"

namespace regc::kernels::generic {
extern const Kernels kKernels;
}

namespace regc::test {

// Rows of float32 as the generic kernels read them, in whole blocks.
inline Exact<float> padded_rows(const Operands& o, size_t padded) {
  Exact<float> x(o.size.rows * padded);
  std::fill_n(x.data(), x.size(), 0.0F);
  for (size_t row = 0; row < o.size.rows; ++row)
    std::copy_n(o.exact.data() + row * o.size.inputs, o.size.inputs, x.data() + row * padded);
  return x;
}

inline kernels::MatMulTask task_of(const kernels::Matrix& w, const Operands& o, float* y) {
  kernels::MatMulTask task{};
  task.weight = &w;
  task.out = {y, o.added.data(), o.ending};
  task.rows = o.size.rows;
  task.tile_end = o.size.tiles();
  return task;
}

inline void expect_int8(const kernels::Matrix& w, size_t block, const Operands& o, float* y) {
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

inline void expect_float(const kernels::Matrix& w, size_t block, const Operands& o, float* y) {
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

// What a kernel rounds besides sums of float32: nothing; rows, to float16; factors, to sums of bfloat16.
enum class Rounded { nothing, rows, factors };

// The largest rounding errors of x * |W| * scale, where that is finite.
template <class Value>
Exact<float> bounds(const Operands& o, const kernels::Affine& w, Rounded rounded, const Value& value) {
  Exact<float> bound(o.size.rows * o.size.outputs);
  for (size_t row = 0; row < o.size.rows; ++row) {
    for (size_t n = 0; n < o.size.outputs; ++n) {
      double sum = 0;
      double largest = 0;
      for (size_t k = 0; k < o.size.inputs; ++k) {
        const double x = std::fabs(static_cast<double>(o.exact[row * o.size.inputs + k]));
        if (!std::isfinite(x)) continue;
        sum += x * std::fabs(static_cast<double>(value(n, k)));
        largest = std::max(largest, x);
      }
      const double more = rounded == Rounded::rows ? 0x1p-11 : rounded == Rounded::factors ? 0x1p-16 : 0;
      const double each = static_cast<double>(o.size.inputs + 8) * 0x1p-23 + more;
      const double lost = rounded == Rounded::rows ? static_cast<double>(o.size.inputs) * largest * 0x1p-31 : 0;
      const double scale = std::fabs(static_cast<double>(w.scale[n]));
      bound[row * o.size.outputs + n] = static_cast<float>((sum * each + lost) * scale);
    }
  }
  return bound;
}

}  // namespace regc::test
