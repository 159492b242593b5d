// Checks of the kernels that make rows of activations ready for others.
#pragma once

#include "compare.h"

namespace regc::test {

// Rows in float16 as a panel kernel of RF8 takes them; tests/runtime_ops/test_halves.py has the reference for their
// values, and here such a kernel is compared with itself, uncut.
struct Rounded {
  Rounded(void (*round)(const RoundTask&), const float* x, const Size& size, size_t inputs)
      : padded(inputs), halves(size.rows * inputs), scale(size.rows) {
    round({x, size.rows, size.inputs, padded, halves.data(), scale.data()});
  }
  const float* pairs() const { return reinterpret_cast<const float*>(halves.data()); }
  size_t padded;
  Exact<uint16_t> halves;
  Exact<float> scale;
};

// The value of a finite half.
inline float value_of(uint16_t half) {
  const int exponent = half >> 10 & 31;
  const float fraction = static_cast<float>(half & 1023) + (exponent == 0 ? 0.0F : 1024.0F);
  return std::ldexp(half >> 15 != 0 ? -fraction : fraction, (exponent == 0 ? 1 : exponent) - 25);
}

void check_round_rows(Random& random, const Pair<RoundTask>& pair, const Kernels&) {
  if (pair.kernel == nullptr) return;
  const Size size(random);
  const size_t padded = size.inputs + random() % 32;
  const Exact<float> x = rows_of(random, size.rows, size.inputs, size.inputs, true);
  Guarded<uint16_t> halves(size.rows * padded);
  Guarded<float> scale(size.rows);
  pair.kernel({x.data(), size.rows, size.inputs, padded, halves.data(), scale.data()});
  if (!halves.intact() || !scale.intact()) fail("wrote outside of its output");
  for (size_t row = 0; row < size.rows; ++row) {
    int exponent = 0;
    if (std::frexp(scale.data()[row], &exponent) != 0.5F) fail("a scale is no power of two");
    for (size_t k = 0; k < padded; ++k) {
      const float value = k < size.inputs ? x.data()[row * size.inputs + k] : 0.0F;
      const uint16_t half = halves.data()[row * padded + k];
      const bool finite = (half & 0x7C00) != 0x7C00;
      if (finite != std::isfinite(value)) fail("finite where it should not be, or the other way round");
      const double exact = static_cast<double>(value) / static_cast<double>(scale.data()[row]);
      if (finite && std::fabs(static_cast<double>(value_of(half)) - exact) > std::fabs(exact) / 2048 + 3e-8)
        fail("not the nearest half");
      if (finite && std::fabs(exact) >= 256) fail("a half out of range");
    }
  }
}

struct Quantized {
  Quantized(const Pair<QuantizeTask>& pair, const float* x, const Size& size, const Matrix& w, size_t block,
            uint8_t flip)
      : padded(w.blocks * block), q(size.rows * padded), row_scale(size.rows), sums(size.rows * w.groups) {
    QuantizeTask task{x, size.rows, size.inputs, padded, flip, q.data(), row_scale.data(), sums.data(),
                      w.group_blocks * block, w.groups};
    pair.kernel(task);
  }
  bool operator==(Quantized& o) {
    return std::memcmp(q.data(), o.q.data(), q.size()) == 0 &&
           same(row_scale.data(), o.row_scale.data(), row_scale.size()) &&
           std::memcmp(sums.data(), o.sums.data(), sums.size() * sizeof(int32_t)) == 0;
  }
  bool intact() const { return q.intact() && row_scale.intact() && sums.intact(); }
  size_t padded;
  Guarded<uint8_t> q;
  Guarded<float> row_scale;
  Guarded<int32_t> sums;
};

void check_quantize(Random& random, const Pair<QuantizeTask>& pair, const Kernels&) {
  const Size size(random);
  const PackedProblem problem(random, size, kTernaryBlock);
  const Exact<float> x = rows_of(random, size.rows, size.inputs, size.inputs, random() % 2 == 0);
  const uint8_t flip = random() % 2 == 0 ? 0 : 0x80;
  Quantized y(pair, x.data(), size, problem.weight, kTernaryBlock, flip);
  Quantized expected({pair.generic, pair.generic}, x.data(), size, problem.weight, kTernaryBlock, flip);
  if (!y.intact()) fail("wrote outside of its output");
  if (!(y == expected)) fail("differs from the generic kernel");
}

void check_pack_rows(Random& random, const Pair<PackTask>& pair, const Kernels&) {
  const Size size(random);
  const size_t padded = size.inputs + random() % 32;
  const Exact<float> x = rows_of(random, size.rows, size.inputs, size.inputs, true);
  const size_t count = ceil_div(size.rows, kPackedRows) * kPackedRows * padded;
  Guarded<float> y(count);
  Guarded<float> expected(count);
  pair.kernel({x.data(), size.rows, size.inputs, padded, y.data()});
  pair.generic({x.data(), size.rows, size.inputs, padded, expected.data()});
  if (!y.intact()) fail("wrote outside of its output");
  if (!same(y.data(), expected.data(), count)) fail("differs from the generic kernel");
}

}  // namespace regc::test
