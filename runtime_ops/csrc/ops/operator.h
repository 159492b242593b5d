// What all operators of the library share, whatever they compute.
#pragma once

#include <string>

#include "abi/ort_abi.h"
#include "ops/tensor.h"

namespace regc::ops {

struct InputSpec {
  const char* name;
  int type;  // abi::kAny: the operator checks it itself
};

// "ai.regc::Name node 'its name': ", which errors begin with.
std::string node_prefix(const abi::Api& api, const OrtKernelInfo* info, const std::string& operator_name);

// The memory of the operator's one output, float32 of this shape.
float* output(const abi::Api& api, OrtKernelContext* context, const Shape& shape);

// Fills in all that does not depend on the operator: CPU, required inputs, one float32 output, version 1.
void set_common_fields(abi::CustomOp& op);

}  // namespace regc::ops
