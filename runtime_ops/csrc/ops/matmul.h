// The operators y = x * transpose(W) + bias with a W of any format: all that is not particular to one format.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "abi/ort_abi.h"
#include "ops/ended.h"
#include "ops/multiply.h"
#include "ops/operator.h"
#include "ops/tensor.h"

namespace regc::ops {

// An operator without what may follow its product: its first input is x [..., K] of a type of kElements; the others
// are the weight. Its single output is y [..., N], of the type of x.
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
MatMulSpec gated_topk_matmul();
MatMulSpec gated_topk_rf8_matmul();

// An operator as the runtime gets to know it; must outlive the sessions that use it.
struct Operator : EndedOperator<MatMulSpec> {
  Operator(const abi::Api& runtime, const MatMulSpec& base, const EndingSpec& follows, abi::ElementType type);
};

// y's shape from those of x, scale and what is added, as far as they are known.
OrtStatus* infer_shape(const abi::CustomOp* op, OrtShapeInferContext* context) noexcept;

}  // namespace regc::ops
