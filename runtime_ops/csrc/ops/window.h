// The window of a convolution: what the attributes of a node say, and what they make of an image.
#pragma once

#include <array>
#include <string>

#include "abi/ort_abi.h"
#include "kernels/kernels.h"
#include "ops/tensor.h"

namespace regc::ops {

// Of two spatial axes; a convolution over one axis has a first axis of size 1. Every entry is at most
// kMaxWindow.
struct Window {
  size_t axes;  // of the node: 1 or 2
  std::array<size_t, 2> kernel;
  std::array<size_t, 2> stride;
  std::array<size_t, 2> pad_before;
  std::array<size_t, 2> pad_after;
  std::array<size_t, 2> dilation;

  size_t taps() const { return kernel[0] * kernel[1]; }
};

constexpr int64_t kMaxWindow = 1 << 15;

// The attributes kernel_shape, strides, pads and dilations, all required. Throws InvalidInput with a text
// that starts with `node`.
Window read_window(const abi::Api& api, const OrtKernelInfo* info, const std::string& node);

// The same without checks, while shapes are inferred.
Window infer_window(const abi::Api& api, const OrtShapeInferContext* context);

// Outputs along an axis of `size` places; 0 when the window does not fit.
size_t output_size(const Window& window, size_t axis, size_t size);

// For x [images, channels, height, width], or [images, channels, width]. Throws InvalidInput when the window
// does not fit.
kernels::Geometry geometry_of(const Window& window, const Tensor& x, const std::string& node);

}  // namespace regc::ops
