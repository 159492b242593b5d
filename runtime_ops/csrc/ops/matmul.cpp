#include "ops/matmul.h"

#include <memory>

#include "ops/broadcast.h"
#include "ops/error.h"
#include "ops/halves.h"

namespace regc::ops {

namespace {

// A node of a session.
class MatMul {
 public:
  MatMul(const Operator& op, const OrtKernelInfo* info)
      : op_(op),
        node_(node_prefix(op.api, info, op.name)),
        kernels_(kernels::kernels_for(chosen_isa(node_))),
        inputs_(op.api, op.inputs, node_),
        constant_(read_constant(info)) {}

  const abi::Api& api() const { return op_.api; }

  void compute(OrtKernelContext* context) const {
    const std::unique_ptr<const Weight> read = constant_ == nullptr ? read_inputs(context) : nullptr;
    const Weight& weight = constant_ == nullptr ? *read : *constant_;
    const Tensor x = inputs_.at(context, 0);
    const size_t rows = count_rows(x, weight.affine().inputs);
    Shape shape = x.shape;
    shape.back() = static_cast<int64_t>(weight.affine().outputs);
    if (op_.adds()) return multiply_and_add(weight, x, rows, shape, context);
    const Results y(output(op_.api, context, shape), count_of(shape), op_.element);
    if (rows == 0) return;
    weight.multiply(kernels_, Floats(x).data(), rows, {y.data(), nullptr, op_.ending}, {op_.api, context});
    y.store();
  }

 private:
  // Where shapes are equal, as those of a residual connection are, the kernels add.
  void multiply_and_add(const Weight& weight, const Tensor& x, size_t rows, const Shape& shape,
                        OrtKernelContext* context) const {
    const Tensor other = inputs_.at(context, op_.inputs.size() - 1);
    const Shape whole = broadcast(shape, other.shape, op_.inputs.back().name, node_);
    const Results y(output(op_.api, context, whole), count_of(whole), op_.element);
    const Parallel parallel(op_.api, context);
    if (rows == 0) return;
    const Floats wide(x);
    const Floats added(other);
    if (shape == other.shape) {
      weight.multiply(kernels_, wide.data(), rows, {y.data(), added.data(), op_.ending}, parallel);
    } else {
      const Buffer<float> product(rows, weight.affine().outputs);
      weight.multiply(kernels_, wide.data(), rows, {product.data(), nullptr, kernels::Ending::none}, parallel);
      add_broadcast(product.data(), shape, added.data(), other.shape, y.data(), whole);
    }
    y.store();
  }

  // The weight when all of its inputs are constant, used in place; else null, and it is read at every call.
  std::unique_ptr<const Weight> read_constant(const OrtKernelInfo* info) const {
    const auto tensors = inputs_.constants(info, op_.spec.inputs.size());
    return tensors ? op_.spec.read(*tensors, node_) : nullptr;
  }

  std::unique_ptr<const Weight> read_inputs(const OrtKernelContext* context) const {
    return op_.spec.read(inputs_.variables(context, op_.spec.inputs.size()), node_);
  }

  size_t count_rows(const Tensor& x, size_t weight_inputs) const {
    const std::string inputs = std::to_string(weight_inputs);
    if (x.shape.empty()) throw InvalidInput(node_ + "x is a scalar, its last dimension must be " + inputs);
    if (x.shape.back() != static_cast<int64_t>(weight_inputs)) {
      throw InvalidInput(node_ + "x has shape " + text(x.shape) + ", its last dimension must be " + inputs);
    }
    size_t rows = 1;
    for (size_t i = 0; i + 1 < x.shape.size(); ++i) rows *= static_cast<size_t>(x.shape[i]);
    return rows;
  }

  const Operator& op_;
  const std::string node_;
  const kernels::Kernels& kernels_;
  const Inputs inputs_;
  const std::unique_ptr<const Weight> constant_;
};

}  // namespace

Operator::Operator(const abi::Api& runtime, const MatMulSpec& base, const EndingSpec& follows,
                   abi::ElementType type)
    : EndedOperator(runtime, base, follows, type) {
  set_node<Operator, MatMul>(*this);
  InferOutputShapeFn = infer_shape;
}

}  // namespace regc::ops
