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
  size_t stream_rows;  // the most rows that are streamed
};

// Where streaming still beats decoding a panel, on Ice Lake with AVX-512 and with AVX2.
constexpr size_t kInt8StreamRows = 8;
constexpr size_t kFloatStreamRows = 3;

// y[rows, N] = x[rows, K] * transpose(W) * scale + bias. The result does not depend on the number of threads.
void multiply(const kernels::Kernels& kernels, const Method& method, const kernels::Matrix& weight,
              const float* x, size_t rows, float* y, const Parallel& parallel);

}  // namespace regc::ops
