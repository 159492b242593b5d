// The shape of an output before the model runs.
#pragma once

#include <string>
#include <vector>

#include "abi/ort_abi.h"
#include "ops/tensor.h"

namespace regc::ops {

constexpr int64_t kUnknown = -1;

// The dimensions of a tensor, each with a value, a symbol, or neither.
struct Dimensions {
  Shape values;
  std::vector<std::string> symbols;
};

// Those of input `index`; none when its rank is unknown.
Dimensions dimensions_of(const abi::Api& api, const OrtShapeInferContext* context, size_t index);

// The dimensions of the sum of y with another tensor, as by ONNX's Add.
void add(Dimensions& y, Dimensions other);

// The element type of input `index`.
int type_of(const abi::Api& api, const OrtShapeInferContext* context, size_t index);

// The output is of this type with these dimensions.
void set_output(const abi::Api& api, OrtShapeInferContext* context, Dimensions y, int type);

}  // namespace regc::ops
