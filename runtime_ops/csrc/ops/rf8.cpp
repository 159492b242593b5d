// RF8MatMul; the format is described in runtime_ops/formats/rf8.py.
#include "ops/matmul.h"
#include "ops/weights.h"

namespace regc::ops {

namespace {

using kernels::ceil_div;
using kernels::Kernels;
using kernels::Matrix;

std::unique_ptr<const Weight> read(const std::vector<Tensor>& tensors, const std::string& node) {
  const Tensor& codes = tensors[0];
  const Tensor& shape = tensors[3];
  require_shape(shape, {2}, "shape", " (N, K)", node);
  Matrix w{};
  w.outputs = positive_size(shape, 0, "N", node);
  w.inputs = positive_size(shape, 1, "K", node);
  w.blocks = ceil_div(w.inputs, kernels::kRF8Block);
  w.groups = 1;
  w.group_blocks = w.blocks;
  const auto tiles = static_cast<int64_t>(ceil_div(w.outputs, kernels::kTile));
  const std::string why = " for shape [N, K] = " + text({shape.as<int64_t>(), shape.as<int64_t>() + 2});
  require_shape(codes, {tiles, static_cast<int64_t>(w.blocks), 4, 2, 4, 2}, "codes", why, node);
  w.codes = codes.as<uint8_t>();
  read_affine(w, tensors[1], tensors[2], node);
  const Method method = {&Kernels::rf8_stream, &Kernels::rf8_panel, Activations::rounded, kernels::kRF8Block,
                         &Kernels::rf8_stream_rows};
  return std::make_unique<const PackedWeight>(w, method);
}

}  // namespace

MatMulSpec rf8_matmul() {
  const std::vector<InputSpec> inputs = {{"x", abi::kFloat},
                                         {"codes", abi::kUInt8},
                                         {"scale", abi::kFloat},
                                         {"bias", abi::kFloat},
                                         {"shape", abi::kInt64}};
  return {"RF8MatMul", inputs, 2, read};
}

}  // namespace regc::ops
