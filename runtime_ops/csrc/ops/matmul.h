// The operators y = x * transpose(W) + bias with a W of any format: all that is not particular to one format.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "abi/ort_abi.h"
#include "ops/multiply.h"
#include "ops/operator.h"
#include "ops/tensor.h"

namespace regc::ops {

// An operator without what may follow its product: its first input is x, float32 [..., K]; the others are the
// weight. Its single output is y, float32 [..., N].
struct MatMulSpec {
  const char* name;
  std::vector<InputSpec> inputs;
  size_t scale_index;  // the input whose length is N
  // The weight from its tensors, in the order of inputs[1:], after checking all that the kernels rely on.
  // Throws InvalidInput with a text that starts with `node`.
  std::unique_ptr<const Weight> (*read)(const std::vector<Tensor>& tensors, const std::string& node);
};

// One per operator; in ternary.cpp, rf8.cpp, block_sparse.cpp and gated.cpp.
MatMulSpec ternary_matmul();
MatMulSpec ternary_matmul_float();
MatMulSpec ternary5_matmul();
MatMulSpec ternary5_matmul_float();
MatMulSpec rf8_matmul();
MatMulSpec block_sparse_matmul();
MatMulSpec block_sparse_rf8_matmul();
MatMulSpec gated_matmul();
MatMulSpec gated_rf8_matmul();

// What may follow the product: every operator has a variant for each, whose name ends in `suffix`. The variant
// that adds takes one more input, after the others: what is added to y, broadcast as by ONNX's Add.
struct EndingSpec {
  const char* suffix;
  kernels::Ending ending;
};
constexpr EndingSpec kEndings[] = {
    {"", kernels::Ending::none},          {"Relu", kernels::Ending::relu}, {"Gelu", kernels::Ending::gelu},
    {"GeluTanh", kernels::Ending::gelu_tanh}, {"Silu", kernels::Ending::silu}, {"Add", kernels::Ending::add},
};

// An operator as the runtime gets to know it; must outlive the sessions that use it.
struct Operator : abi::CustomOp {
  Operator(const abi::Api& runtime, const MatMulSpec& base, const EndingSpec& follows);
  bool adds() const { return ending == kernels::Ending::add; }
  const abi::Api& api;
  const std::string name;
  const kernels::Ending ending;
  const MatMulSpec spec;          // of the base
  std::vector<InputSpec> inputs;  // all of them
};

// y's shape from those of x, scale and what is added, as far as they are known.
OrtStatus* infer_shape(const abi::CustomOp* op, OrtShapeInferContext* context) noexcept;

}  // namespace regc::ops
