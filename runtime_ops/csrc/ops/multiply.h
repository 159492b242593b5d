// Splitting a matrix product into tasks for the kernels.
#pragma once

#include "kernels/kernels.h"
#include "ops/parallel.h"

namespace regc::ops {

using MatMulKernel = void (*kernels::Kernels::*)(const kernels::MatMulTask&);

// The two kernels of a format.
struct Method {
  MatMulKernel stream;
  MatMulKernel panel;
  bool quantized;      // int8 activations
  size_t x_block;      // inputs that 64 bytes of codes hold
  size_t stream_rows;  // up to which streaming is faster than decoding a panel
};

// y[rows, N] = x[rows, K] * transpose(W) * scale + bias. The result does not depend on the number of threads.
void multiply(const kernels::Kernels& kernels, const Method& method, const kernels::Matrix& weight,
              const float* x, size_t rows, float* y, const Parallel& parallel);

}  // namespace regc::ops
