// Splitting a matrix product into tasks for the kernels.
#pragma once

#include "kernels/kernels.h"
#include "ops/buffer.h"
#include "ops/parallel.h"

namespace regc::ops {

using MatMulKernel = void (*kernels::Kernels::*)(const kernels::MatMulTask&);

// What the kernels of a format take for activations: int8, float32, or float32 that is rounded for panels where
// the instruction set has the kernel round_rows.
enum class Activations { int8, float32, rounded };

// The two kernels of a format.
struct Method {
  MatMulKernel stream;
  MatMulKernel panel;
  Activations activations;
  size_t x_block;                         // inputs that 64 bytes of codes hold
  size_t kernels::Kernels::*stream_rows;  // the most rows that are streamed
};

// A weight as an operator has read it, and how it is multiplied. Memory belongs to the tensors it came from.
class Weight {
 public:
  virtual ~Weight() = default;
  virtual const kernels::Affine& affine() const = 0;
  // out[rows, N] = ending(x[rows, K] * transpose(W) * scale + bias) for rows >= 1. The result of a row depends neither
  // on the others nor on the number of threads; where float16 is used, it depends on whether rows are few or many.
  virtual void multiply(const kernels::Kernels& kernels, const float* x, size_t rows, const kernels::Out& out,
                        const Parallel& parallel) const = 0;
};

// A dense weight in one of the packed formats.
class PackedWeight final : public Weight {
 public:
  PackedWeight(const kernels::Matrix& matrix, const Method& method) : matrix_(matrix), method_(method) {}
  const kernels::Affine& affine() const override { return matrix_; }
  void multiply(const kernels::Kernels& kernels, const float* x, size_t rows, const kernels::Out& out,
                const Parallel& parallel) const override;

 private:
  const kernels::Matrix matrix_;
  const Method method_;
};

// The same from another element on.
inline kernels::Out from_element(const kernels::Out& out, size_t first) {
  return {out.y + first, out.other == nullptr ? nullptr : out.other + first, out.ending};
}

// Multiplications below which a second thread does not pay.
constexpr size_t kInlineWork = 128 * 1024;

// Rows of `inputs` floats in a copy with rows of `padded`, filled up with zeros; x itself where they are equal.
class PaddedRows {
 public:
  PaddedRows(const float* x, size_t rows, size_t inputs, size_t padded);
  const float* data() const { return data_; }

 private:
  const Buffer<float> copy_;
  const float* const data_;
};

// Rows of x in float16, padded with zeros, and the scale of each; see kernels::RoundTask.
class RoundedRows {
 public:
  RoundedRows(const kernels::Kernels& kernels, const float* x, size_t rows, size_t inputs, size_t padded,
              const Parallel& parallel);
  const uint16_t* data() const { return rounded_.data(); }
  const float* scale() const { return scale_.data(); }

 private:
  const Buffer<uint16_t> rounded_;
  const Buffer<float> scale_;
};

}  // namespace regc::ops
