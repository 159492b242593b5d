#include "ops/operator.h"

#include <limits>

#include "ops/error.h"

namespace regc::ops {

std::string node_prefix(const abi::Api& api, const OrtKernelInfo* info, const std::string& operator_name) {
  size_t size = 0;
  check(api.KernelInfo_GetNodeName(info, nullptr, &size));
  std::string name(size, '\0');  // the size counts the terminating zero
  check(api.KernelInfo_GetNodeName(info, name.data(), &size));
  name.resize(size == 0 ? 0 : size - 1);
  return "ai.regc::" + operator_name + " node '" + name + "': ";
}

float* output(const abi::Api& api, OrtKernelContext* context, const Shape& shape) {
  OrtValue* value = nullptr;
  check(api.KernelContext_GetOutput(context, 0, shape.data(), shape.size(), &value));
  void* data = nullptr;
  check(api.GetTensorMutableData(value, &data));
  return static_cast<float*>(data);
}

void set_common_fields(abi::CustomOp& op) {
  using abi::CustomOp;
  op.version = abi::kApiVersion;
  op.GetExecutionProviderType = [](const CustomOp*) -> const char* { return nullptr; };  // CPU
  op.GetOutputType = [](const CustomOp*, size_t) { return static_cast<int>(abi::kFloat); };
  op.GetOutputTypeCount = [](const CustomOp*) { return size_t{1}; };
  op.GetInputCharacteristic = [](const CustomOp*, size_t) { return 0; };   // required
  op.GetOutputCharacteristic = [](const CustomOp*, size_t) { return 0; };  // required
  op.GetInputMemoryType = [](const CustomOp*, size_t) { return 0; };       // the provider's own
  op.GetVariadicInputMinArity = op.GetVariadicOutputMinArity = [](const CustomOp*) { return 1; };
  op.GetVariadicInputHomogeneity = op.GetVariadicOutputHomogeneity = [](const CustomOp*) { return 1; };
  op.GetStartVersion = [](const CustomOp*) { return 1; };
  op.GetEndVersion = [](const CustomOp*) { return std::numeric_limits<int>::max(); };
}

}  // namespace regc::ops
