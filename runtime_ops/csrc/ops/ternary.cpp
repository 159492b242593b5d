// TernaryMatMul and Ternary5MatMul, each with int8 and float32 activations; the formats are described in
// runtime_ops/formats/ternary.py and ternary5.py.
#include <algorithm>

#include "ops/conv.h"
#include "ops/matmul.h"
#include "ops/weights.h"

namespace regc::ops {

namespace {

using kernels::ceil_div;
using kernels::Kernels;
using kernels::Matrix;

constexpr size_t kScaleIndex = 3;

const std::vector<InputSpec>& inputs() {
  static const std::vector<InputSpec> specs = {{"x", abi::kFloat},          {"codes", abi::kUInt8},
                                               {"multiplier", abi::kUInt8}, {"scale", abi::kFloat},
                                               {"bias", abi::kFloat},       {"shape", abi::kInt64}};
  return specs;
}

void read_multiplier(Matrix& w, const Tensor& multiplier, const std::string& node) {
  const auto* values = multiplier.as<uint8_t>();
  const size_t count = ceil_div(w.outputs, kernels::kTile) * w.groups * kernels::kTile;
  const uint8_t largest = *std::max_element(values, values + count);
  if (largest > kernels::kMaxMultiplier) {
    throw InvalidInput(node + "multiplier has the value " + std::to_string(largest) +
                       ", the largest allowed is " + std::to_string(kernels::kMaxMultiplier));
  }
  w.multiplier = values;
  w.multiplied = std::any_of(values, values + count, [](uint8_t value) { return value != 1; });
}

// A weight whose 64 bytes of codes hold 16 outputs of `block` inputs.
Matrix read(const std::vector<Tensor>& tensors, size_t block, const std::string& node) {
  const Tensor& codes = tensors[0];
  const Tensor& multiplier = tensors[1];
  const Tensor& shape = tensors[4];
  require_shape(shape, {3}, "shape", " (N, K, group)", node);
  Matrix w{};
  w.outputs = positive_size(shape, 0, "N", node);
  w.inputs = positive_size(shape, 1, "K", node);
  const size_t group = ternary_group(shape, w.inputs, block, node);
  w.blocks = ceil_div(w.inputs, block);
  w.groups = ceil_div(w.inputs, group);
  w.group_blocks = ceil_div(group, block);
  const auto tiles = static_cast<int64_t>(ceil_div(w.outputs, kernels::kTile));
  const std::string why =
      " for shape [N, K, group] = " + text({shape.as<int64_t>(), shape.as<int64_t>() + 3});
  require_shape(codes, {tiles, static_cast<int64_t>(w.blocks), 16, 4}, "codes", why, node);
  require_shape(multiplier, {tiles, static_cast<int64_t>(w.groups), 16}, "multiplier", why, node);
  w.codes = codes.as<uint8_t>();
  read_multiplier(w, multiplier, node);
  read_affine(w, tensors[2], tensors[3], node);
  return w;
}

std::unique_ptr<const Weight> read_int8(const std::vector<Tensor>& tensors, const Method& method,
                                        const std::string& node) {
  const Matrix w = read(tensors, method.x_block, node);
  if (w.inputs <= kernels::kMaxInt8Inputs) return std::make_unique<const PackedWeight>(w, method);
  throw InvalidInput(node + "shape says K = " + std::to_string(w.inputs) +
                     ", sums of int8 products fit int32 up to " + std::to_string(kernels::kMaxInt8Inputs));
}

std::unique_ptr<const Weight> read_float(const std::vector<Tensor>& tensors, const Method& method,
                                         const std::string& node) {
  return std::make_unique<const PackedWeight>(read(tensors, method.x_block, node), method);
}

// The function body sums in float32, which is exact below 2^24.
Matrix read_conv(const std::vector<Tensor>& tensors, const std::string& node) {
  const Matrix w = read(tensors, kernels::kTernaryBlock, node);
  const size_t largest = w.multiplied ? kernels::kMaxMultiplier : 1;
  if (w.inputs <= kernels::kMaxInt8Inputs / largest) return w;
  throw InvalidInput(node + "shape says K = " + std::to_string(w.inputs) + ", sums of products are exact up to " +
                     std::to_string(kernels::kMaxInt8Inputs / largest));
}

}  // namespace

MatMulSpec ternary_matmul() {
  const auto read_weight = [](const std::vector<Tensor>& tensors, const std::string& node) {
    return read_int8(tensors, {&Kernels::ternary_stream, &Kernels::ternary_panel, Activations::int8,
                               kernels::kTernaryBlock, &Kernels::ternary_stream_rows}, node);
  };
  return {"TernaryMatMul", inputs(), kScaleIndex, read_weight};
}

MatMulSpec ternary_matmul_float() {
  const auto read_weight = [](const std::vector<Tensor>& tensors, const std::string& node) {
    return read_float(tensors, {&Kernels::ternary_float_stream, &Kernels::ternary_float_panel, Activations::float32,
                                kernels::kTernaryBlock, &Kernels::float_stream_rows}, node);
  };
  return {"TernaryMatMulFloat", inputs(), kScaleIndex, read_weight};
}

MatMulSpec ternary5_matmul() {
  const auto read_weight = [](const std::vector<Tensor>& tensors, const std::string& node) {
    return read_int8(tensors, {&Kernels::ternary5_stream, &Kernels::ternary5_panel, Activations::int8,
                               kernels::kTernary5Block, &Kernels::ternary5_stream_rows}, node);
  };
  return {"Ternary5MatMul", inputs(), kScaleIndex, read_weight};
}

MatMulSpec ternary5_matmul_float() {
  const auto read_weight = [](const std::vector<Tensor>& tensors, const std::string& node) {
    return read_float(tensors, {&Kernels::ternary5_float_stream, &Kernels::ternary5_float_panel, Activations::float32,
                                kernels::kTernary5Block, &Kernels::float_stream_rows}, node);
  };
  return {"Ternary5MatMulFloat", inputs(), kScaleIndex, read_weight};
}

ConvSpec ternary_conv() {
  return {"TernaryConv", inputs(), kScaleIndex, {&Kernels::ternary_conv, kernels::kCellBytes}, read_conv};
}

}  // namespace regc::ops
