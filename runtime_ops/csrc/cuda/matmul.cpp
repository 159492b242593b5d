// Products with packed weights as operators of the CUDA provider.
#include <algorithm>
#include <cstring>
#include <optional>

#include "cuda/operators.h"
#include "cuda/runtime.h"
#include "ops/broadcast.h"
#include "ops/error.h"

namespace regc::cuda {

namespace {

using ops::InvalidInput;
using ops::Shape;
using ops::Tensor;

bool is_named(const ops::InputSpec& input, const char* name) { return std::strcmp(input.name, name) == 0; }

// Whether the CPU's checks of a weight look into a tensor.
bool is_looked_into(const ops::InputSpec& input) {
  const char* const names[] = {"multiplier", "index", "start", "shape", "threshold", "active", "values"};
  return std::any_of(std::begin(names), std::end(names), [&](const char* name) { return is_named(input, name); });
}

// How far the next element of a dimension lies in a tensor that is repeated to a shape; see ops/broadcast.h.
void fill_strides(const Shape& tensor, const Shape& shape, int64_t* strides) {
  int64_t stride = 1;
  for (size_t i = 0; i < shape.size(); ++i) {
    const int64_t size = i < tensor.size() ? tensor[tensor.size() - 1 - i] : 1;
    strides[shape.size() - 1 - i] = size == 1 ? 0 : stride;
    stride *= size;
  }
}

// A node of a session.
class MatMul {
 public:
  MatMul(const MatMulOperator& op, const OrtKernelInfo* info)
      : op_(op),
        type_(kernel_type(op.element)),
        node_(ops::node_prefix(op.api, info, op.name)),
        inputs_(op.api, op.inputs, node_) {
    const auto tensors = inputs_.constants(info, op_.spec.inputs.size());
    if (tensors) constant_ = read(*tensors, nullptr);
  }

  const abi::Api& api() const { return op_.api; }

  void compute(OrtKernelContext* context) const {
    const OnDevice device(op_.api, context);
    // Weights that are no constants are checked at every call, which waits for the stream.
    const Weight weight = constant_ ? *constant_
                                    : read(inputs_.variables(context, op_.spec.inputs.size()), stream_of(op_.api, context));
    const Tensor x = inputs_.at(context, 0);
    Shape shape = x.shape;
    if (shape.empty() || shape.back() != static_cast<int64_t>(weight.inputs)) {
      throw InvalidInput(node_ + "x has shape " + ops::text(shape) + ", its last dimension must be " +
                         std::to_string(weight.inputs));
    }
    size_t rows = 1;
    for (size_t i = 0; i + 1 < shape.size(); ++i) rows *= static_cast<size_t>(shape[i]);
    shape.back() = static_cast<int64_t>(weight.outputs);
    if (op_.adds()) return multiply_and_add(weight, x, rows, shape, context);
    void* y = ops::output(op_.api, context, shape);
    multiply(weight, x, rows, {y, nullptr, type_, op_.ending}, context);
  }

 private:
  void multiply(const Weight& weight, const Tensor& x, size_t rows, const Out& out, OrtKernelContext* context) const {
    if (rows == 0) return;
    const DeviceMemory scratch(op_.api, context, scratch_bytes(weight, rows));
    const Stream stream = stream_of(op_.api, context);
    check_cuda(cuda::multiply(weight, {x.data, type_}, rows, out, scratch.data(), stream), node_);
  }

  void multiply_and_add(const Weight& weight, const Tensor& x, size_t rows, const Shape& shape,
                        OrtKernelContext* context) const {
    const Tensor other = inputs_.at(context, op_.inputs.size() - 1);
    const Shape whole = ops::broadcast(shape, other.shape, op_.inputs.back().name, node_);
    void* y = ops::output(op_.api, context, whole);
    if (shape == other.shape) return multiply(weight, x, rows, {y, other.data, type_, op_.ending}, context);
    if (whole.size() > kMaxRank)
      throw InvalidInput(node_ + "other is repeated to more than " + std::to_string(kMaxRank) + " dimensions");
    const DeviceMemory product(op_.api, context, rows * weight.outputs * sizeof(float));
    multiply(weight, x, rows, {product.data(), nullptr, Type::float32, Ending::none}, context);
    Broadcast sum{whole.size(), 1, {}, {}, {}};
    for (size_t i = 0; i < whole.size(); ++i) sum.count *= static_cast<size_t>(sum.size[i] = whole[i]);
    fill_strides(shape, whole, sum.a_stride);
    fill_strides(other.shape, whole, sum.b_stride);
    const auto* sums = static_cast<const float*>(product.data());
    check_cuda(add(sums, other.data, y, type_, sum, stream_of(op_.api, context)), node_);
  }

  // The weight after the CPU's own checks, to which what they look into is copied.
  Weight read(const std::vector<Tensor>& tensors, Stream stream) const {
    HostCopies copies(stream);
    std::vector<Tensor> on_host = tensors;
    for (size_t i = 0; i < tensors.size(); ++i)
      if (is_looked_into(op_.spec.inputs[i + 1])) on_host[i] = copies.of(tensors[i], node_);
    const std::unique_ptr<const ops::Weight> checked = op_.spec.read(on_host, node_);
    Weight w{};
    static_cast<Affine&>(w) = checked->affine();
    w.format = op_.format;
    w.codes = tensors[0].as<uint8_t>();
    const int64_t* shape = on_host.back().as<int64_t>();
    switch (op_.format) {
      case Format::ternary:
      case Format::ternary_float:
        fill_ternary(w, kernels::kTernaryBlock, static_cast<size_t>(shape[2]), tensors[1], on_host[1]);
        break;
      case Format::ternary5:
      case Format::ternary5_float:
        fill_ternary(w, kernels::kTernary5Block, static_cast<size_t>(shape[2]), tensors[1], on_host[1]);
        break;
      case Format::rf8:
        w.blocks = ceil_div(w.inputs, kernels::kRF8Block);
        break;
      case Format::sparse:
      case Format::sparse_rf8:
        w.index = tensors[1].as<int32_t>();
        w.start = tensors[2].as<int32_t>();
        while (int64_t{1} << w.block_log2 < shape[2]) ++w.block_log2;
        break;
      case Format::gated:
      case Format::gated_rf8:
        w.norms = tensors[1].as<float>();
        w.threshold = tensors[2].as<float>();
        break;
      case Format::gated_topk:
      case Format::gated_topk_rf8:
        w.norms = tensors[1].as<float>();
        w.active = static_cast<size_t>(*on_host[2].as<int64_t>());
        break;
    }
    if (reinterpret_cast<uintptr_t>(w.codes) % 16 != 0 || reinterpret_cast<uintptr_t>(w.multiplier) % 4 != 0)
      throw std::runtime_error(node_ + "a packed weight does not start at a multiple of 16 bytes of device memory");
    return w;
  }

  static void fill_ternary(Weight& w, size_t block, size_t group, const Tensor& multiplier, const Tensor& on_host) {
    w.blocks = ceil_div(w.inputs, block);
    w.groups = ceil_div(w.inputs, group);
    w.group_blocks = ceil_div(group, block);
    w.multiplier = multiplier.as<uint8_t>();
    const size_t count = ceil_div(w.outputs, kTile) * w.groups * kTile;
    w.multiplied = std::any_of(on_host.as<uint8_t>(), on_host.as<uint8_t>() + count, [](uint8_t v) { return v != 1; });
  }

  const MatMulOperator& op_;
  const Type type_;
  const std::string node_;
  const ops::Inputs inputs_;
  std::optional<Weight> constant_;
};

}  // namespace

MatMulOperator::MatMulOperator(const abi::Api& runtime, const ops::MatMulSpec& base, const ops::EndingSpec& follows,
                               abi::ElementType type, Format of)
    : ops::Operator(runtime, base, follows, type), format(of) {
  place_on_cuda(*this);
  GetInputMemoryType = [](const CustomOp* op, size_t index) -> int {
    const auto& matmul = *static_cast<const MatMulOperator*>(op);
    return is_named(matmul.inputs[index], "shape") ? abi::kHostInput : abi::kProviderMemory;
  };
  ops::set_node<MatMulOperator, MatMul>(*this);
}

}  // namespace regc::cuda
