#include "ops/window.h"

#include <algorithm>

#include "ops/error.h"

namespace regc::ops {

namespace {

constexpr const char* kNames[] = {"kernel_shape", "strides", "pads", "dilations"};

size_t extent(const Window& window, size_t axis) {
  return (window.kernel[axis] - 1) * window.dilation[axis] + 1;
}

// The attributes in the order of kNames, each of one or two axes.
Window window_of(const std::array<Shape, 4>& values) {
  const size_t axes = values[0].size();
  Window window{axes, {1, 1}, {1, 1}, {0, 0}, {0, 0}, {1, 1}};
  for (size_t i = 0; i < axes; ++i) {
    const size_t axis = i + 2 - axes;
    window.kernel[axis] = static_cast<size_t>(values[0][i]);
    window.stride[axis] = static_cast<size_t>(values[1][i]);
    window.pad_before[axis] = static_cast<size_t>(values[2][i]);
    window.pad_after[axis] = static_cast<size_t>(values[2][i + axes]);
    window.dilation[axis] = static_cast<size_t>(values[3][i]);
  }
  return window;
}

Shape read_attribute(const abi::Api& api, const OrtKernelInfo* info, const char* name,
                     const std::string& node) {
  size_t size = 0;
  if (OrtStatus* status = api.KernelInfoGetAttributeArray_int64(info, name, nullptr, &size)) {
    api.ReleaseStatus(status);
    throw InvalidInput(node + "attribute " + name + " is missing");
  }
  Shape values(size);
  check(api.KernelInfoGetAttributeArray_int64(info, name, values.data(), &size));
  return values;
}

Shape infer_attribute(const abi::Api& api, const OrtShapeInferContext* context, const char* name) {
  const OrtOpAttr* attribute = nullptr;  // belongs to the context
  check(api.ShapeInferContext_GetAttribute(context, name, &attribute));
  Shape values(4);
  size_t bytes = 0;
  check(api.ReadOpAttr(attribute, abi::kInts, values.data(), values.size() * sizeof(int64_t), &bytes));
  values.resize(bytes / sizeof(int64_t));
  return values;
}

void require_values(const Shape& values, const char* name, size_t count, int64_t least,
                    const std::string& node) {
  const auto allowed = [least](int64_t value) { return value >= least && value <= kMaxWindow; };
  if (values.size() == count && std::all_of(values.begin(), values.end(), allowed)) return;
  throw InvalidInput(node + "attribute " + name + " is " + text(values) + ", it must be " +
                     std::to_string(count) + " numbers from " + std::to_string(least) + " to " +
                     std::to_string(kMaxWindow));
}

}  // namespace

Window read_window(const abi::Api& api, const OrtKernelInfo* info, const std::string& node) {
  std::array<Shape, 4> values;
  for (size_t i = 0; i < values.size(); ++i) values[i] = read_attribute(api, info, kNames[i], node);
  const size_t axes = std::clamp<size_t>(values[0].size(), 1, 2);
  for (size_t i = 0; i < values.size(); ++i)
    require_values(values[i], kNames[i], i == 2 ? 2 * axes : axes, i == 2 ? 0 : 1, node);
  return window_of(values);
}

Window infer_window(const abi::Api& api, const OrtShapeInferContext* context) {
  std::array<Shape, 4> values;
  for (size_t i = 0; i < values.size(); ++i) values[i] = infer_attribute(api, context, kNames[i]);
  const size_t axes = std::clamp<size_t>(values[0].size(), 1, 2);
  for (size_t i = 0; i < values.size(); ++i)
    require_values(values[i], kNames[i], i == 2 ? 2 * axes : axes, i == 2 ? 0 : 1, "ai.regc: ");
  return window_of(values);
}

size_t output_size(const Window& window, size_t axis, size_t size) {
  const size_t padded = size + window.pad_before[axis] + window.pad_after[axis];
  return padded < extent(window, axis) ? 0 : (padded - extent(window, axis)) / window.stride[axis] + 1;
}

kernels::Geometry geometry_of(const Window& window, const Tensor& x, const std::string& node) {
  const size_t rank = x.shape.size();
  const size_t size[] = {window.axes == 1 ? 1 : static_cast<size_t>(x.shape[rank - 2]),
                         static_cast<size_t>(x.shape[rank - 1])};
  const size_t output[] = {output_size(window, 0, size[0]), output_size(window, 1, size[1])};
  if (output[0] == 0 || output[1] == 0) {
    throw InvalidInput(node + "x has shape " + text(x.shape) + ", the kernel does not fit");
  }
  kernels::Geometry g{};
  g.height = size[0];
  g.width = size[1];
  g.stride_high = window.stride[0];
  g.stride_wide = window.stride[1];
  g.pad_top = window.pad_before[0];
  g.pad_left = window.pad_before[1];
  g.phases_high = std::min(window.stride[0], extent(window, 0));
  g.phases_wide = std::min(window.stride[1], extent(window, 1));
  g.output_height = output[0];
  g.output_width = output[1];
  g.plane_height = output[0] + (extent(window, 0) - 1) / window.stride[0];
  g.plane_width = output[1] + (extent(window, 1) - 1) / window.stride[1];
  return g;
}

}  // namespace regc::ops
