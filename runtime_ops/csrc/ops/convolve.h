// Splitting a convolution into tasks for the kernels.
#pragma once

#include "kernels/kernels.h"
#include "ops/parallel.h"
#include "ops/window.h"

namespace regc::ops {

// How a format is multiplied by images.
struct ConvMethod {
  void (*kernels::Kernels::*convolve)(const kernels::ConvTask&);
  size_t channels;  // of a cell
};

// x [images, channels, height, width].
struct Images {
  const float* x;
  size_t count;
  size_t channels;  // a multiple of those of a cell
};

// out [images, outputs, output_height, output_width] = x convolved with a weight whose inputs are the taps of
// the window, row by row, and of each tap the channels. Every image is quantized by its own largest
// magnitude. No image depends on the others nor on the threads.
void convolve(const kernels::Kernels& kernels, const ConvMethod& method, const kernels::Matrix& weight,
              const Window& window, const kernels::Geometry& geometry, const Images& images,
              const kernels::Out& out, const Parallel& parallel);

}  // namespace regc::ops
