// Sums of tensors of different shapes, as ONNX's Add defines them.
#pragma once

#include <string>

#include "ops/tensor.h"

namespace regc::ops {

// The shape of a sum. Throws InvalidInput starting with `node` when there is none; `name` is that of b.
Shape broadcast(const Shape& a, const Shape& b, const char* name, const std::string& node);

// sum[shape] = a + b, where `shape` is that of broadcast().
void add_broadcast(const float* a, const Shape& a_shape, const float* b, const Shape& b_shape, float* sum,
                   const Shape& shape);

}  // namespace regc::ops
