#include "ops/conv.h"

#include <optional>

#include "ops/broadcast.h"
#include "ops/buffer.h"
#include "ops/error.h"
#include "ops/shape_inference.h"

namespace regc::ops {

namespace {

using kernels::Geometry;
using kernels::Matrix;

// A node of a session.
class Conv {
 public:
  Conv(const ConvOperator& op, const OrtKernelInfo* info)
      : op_(op),
        node_(node_prefix(op.api, info, op.name)),
        kernels_(kernels::kernels_for(chosen_isa(node_))),
        inputs_(op.api, op.inputs, node_),
        window_(read_window(op.api, info, node_)) {
    if (const auto tensors = inputs_.constants(info, op.spec.inputs.size())) constant_ = read(*tensors);
  }

  const abi::Api& api() const { return op_.api; }

  void compute(OrtKernelContext* context) const {
    const Matrix weight = constant_ ? *constant_ : read(inputs_.variables(context, op_.spec.inputs.size()));
    const Tensor x = inputs_.at(context, 0);
    const size_t channels = weight.inputs / window_.taps();
    require_channels(x, channels);
    const Geometry geometry = geometry_of(window_, x, node_);
    Shape shape = {x.shape[0], static_cast<int64_t>(weight.outputs)};
    if (window_.axes == 2) shape.push_back(static_cast<int64_t>(geometry.output_height));
    shape.push_back(static_cast<int64_t>(geometry.output_width));
    const Images images = {x.as<float>(), static_cast<size_t>(x.shape[0]), channels};
    const auto run = [&](const kernels::Out& out) {
      if (images.count == 0) return;
      convolve(kernels_, op_.spec.method, weight, window_, geometry, images, out, {op_.api, context});
    };
    if (op_.adds()) return convolve_and_add(run, shape, context);
    run({static_cast<float*>(output(op_.api, context, shape)), nullptr, op_.ending});
  }

 private:
  // Where shapes are equal, as those of a residual connection are, the kernels add.
  template <class Run>
  void convolve_and_add(const Run& run, const Shape& shape, OrtKernelContext* context) const {
    const Tensor other = inputs_.at(context, op_.inputs.size() - 1);
    const Shape whole = broadcast(shape, other.shape, op_.inputs.back().name, node_);
    auto* y = static_cast<float*>(output(op_.api, context, whole));
    if (shape == other.shape) return run({y, other.as<float>(), op_.ending});
    size_t size = 1;
    for (const int64_t dimension : shape) size *= static_cast<size_t>(dimension);
    const Buffer<float> product(size, 1);
    run({product.data(), nullptr, kernels::Ending::none});
    if (size > 0) add_broadcast(product.data(), shape, other.as<float>(), other.shape, y, whole);
  }

  Matrix read(const std::vector<Tensor>& tensors) const {
    const Matrix weight = op_.spec.read(tensors, node_);
    const size_t taps = window_.taps();
    const size_t unit = op_.spec.method.channels;
    if (weight.inputs % taps == 0 && weight.inputs / taps % unit == 0) return weight;
    throw InvalidInput(node_ + "shape says K = " + std::to_string(weight.inputs) + ", it must be the " +
                       std::to_string(taps) + " taps of kernel_shape times a multiple of " +
                       std::to_string(unit) + " channels");
  }

  void require_channels(const Tensor& x, size_t channels) const {
    const size_t rank = window_.axes + 2;
    if (x.shape.size() == rank && x.shape[1] == static_cast<int64_t>(channels)) return;
    throw InvalidInput(node_ + "x has shape " + text(x.shape) + ", it must have " + std::to_string(rank) +
                       " dimensions and " + std::to_string(channels) + " channels");
  }

  const ConvOperator& op_;
  const std::string node_;
  const kernels::Kernels& kernels_;
  const Inputs inputs_;
  const Window window_;
  std::optional<Matrix> constant_;
};

void infer(const ConvOperator& op, OrtShapeInferContext* context) {
  const Dimensions x = dimensions_of(op.api, context, 0);
  const Dimensions scale = dimensions_of(op.api, context, op.spec.scale_index);
  const Window window = infer_window(op.api, context);
  if (x.values.size() != window.axes + 2) return;  // unknown, or refused when it runs
  Dimensions y = x;
  const bool known = scale.values.size() == 1;
  y.values[1] = known ? scale.values[0] : kUnknown;
  y.symbols[1] = known ? scale.symbols[0] : "";
  for (size_t i = 2; i < y.values.size(); ++i) {
    const size_t axis = i - window.axes;  // 1-D windows have a first axis of size 1
    const int64_t size = x.values[i];
    y.values[i] =
        size < 0 ? kUnknown : static_cast<int64_t>(output_size(window, axis, static_cast<size_t>(size)));
    y.symbols[i] = "";
  }
  if (op.adds()) {
    const Dimensions other = dimensions_of(op.api, context, op.inputs.size() - 1);
    if (other.values.empty()) return;
    add(y, other);
  }
  set_output(op.api, context, y, abi::kFloat);
}

OrtStatus* infer_conv(const abi::CustomOp* op, OrtShapeInferContext* context) noexcept {
  const auto& self = *static_cast<const ConvOperator*>(op);
  return guarded(self.api, [&] { infer(self, context); });
}

}  // namespace

ConvOperator::ConvOperator(const abi::Api& runtime, const ConvSpec& base, const EndingSpec& follows)
    : EndedOperator(runtime, base, follows) {
  set_node<ConvOperator, Conv>(*this);
  InferOutputShapeFn = infer_conv;
}

}  // namespace regc::ops
