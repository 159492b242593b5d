// The operators y = x convolved with W, plus bias, with a W of any format: all that is not particular to one
// format.
#pragma once

#include <string>
#include <vector>

#include "ops/convolve.h"
#include "ops/ended.h"
#include "ops/operator.h"

namespace regc::ops {

// An operator: its first input is x, float32 [images, channels, (height,) width]; the others are the weight.
// Its single output is y, float32 [images, N, (height,) width].
struct ConvSpec {
  const char* name;
  std::vector<InputSpec> inputs;
  size_t scale_index;  // the input whose length is N
  ConvMethod method;
  // The weight from its tensors, in the order of inputs[1:], after checking all that the kernels rely on.
  // Throws InvalidInput with a text that starts with `node`.
  kernels::Matrix (*read)(const std::vector<Tensor>& tensors, const std::string& node);
};

ConvSpec ternary_conv();

// An operator as the runtime gets to know it; must outlive the sessions that use it.
struct ConvOperator : EndedOperator<ConvSpec> {
  ConvOperator(const abi::Api& runtime, const ConvSpec& base, const EndingSpec& follows);
};

}  // namespace regc::ops
