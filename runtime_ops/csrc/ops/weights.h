// Checks that the weights of all formats share. Texts start with `node` and name both numbers.
#pragma once

#include <string>

#include "kernels/kernels.h"
#include "ops/error.h"
#include "ops/tensor.h"

namespace regc::ops {

// Largest size of a weight: products of two still fit int64, so nothing derived from them overflows.
constexpr int64_t kMaxSize = int64_t{1} << 31;

// Entry `index` of the input "shape".
inline size_t positive_size(const Tensor& shape, size_t index, const char* name, const std::string& node) {
  const int64_t value = shape.as<int64_t>()[index];
  if (value >= 1 && value <= kMaxSize) return static_cast<size_t>(value);
  throw InvalidInput(node + "shape says " + name + " = " + std::to_string(value) + ", it must be 1 to " +
                     std::to_string(kMaxSize));
}

// Inputs that share a multiplier, the third entry of a ternary weight's "shape".
inline size_t ternary_group(const Tensor& shape, size_t inputs, size_t block, const std::string& node) {
  const size_t group = positive_size(shape, 2, "group", node);
  if (group == inputs || (group < inputs && group % block == 0)) return group;
  throw InvalidInput(node + "shape says group = " + std::to_string(group) +
                     ", it must be K = " + std::to_string(inputs) + " or a smaller multiple of " +
                     std::to_string(block));
}

// Fills in scale [N] and bias [N] or [1].
inline void read_affine(kernels::Affine& weight, const Tensor& scale, const Tensor& bias,
                        const std::string& node) {
  const auto outputs = static_cast<int64_t>(weight.outputs);
  require_shape(scale, {outputs}, "scale", " (N of shape)", node);
  const bool one = bias.shape == Shape{1};
  if (!one) require_shape(bias, {outputs}, "bias", " or [1] (N of shape)", node);
  weight.scale = scale.as<float>();
  weight.bias = bias.as<float>();
  weight.bias_step = one ? 0 : 1;
}

}  // namespace regc::ops
