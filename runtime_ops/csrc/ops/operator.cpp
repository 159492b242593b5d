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

kernels::Isa chosen_isa(const std::string& node) {
  const char* bound = kernels::isa_bound();
  if (const auto isa = kernels::isa_up_to(bound)) return *isa;
  std::string choices;
  for (const char* name : kernels::kIsaNames) choices += (choices.empty() ? "" : ", ") + std::string(name);
  throw InvalidInput(node + "REGC_ISA is '" + bound + "', choose one of " + choices);
}

Tensor Inputs::at(const OrtKernelContext* context, size_t index) const {
  const OrtValue* value = nullptr;
  check(api_.KernelContext_GetInput(context, index, &value));
  return checked(value, index);
}

std::optional<std::vector<Tensor>> Inputs::constants(const OrtKernelInfo* info, size_t end) const {
  std::vector<Tensor> tensors;
  for (size_t i = 1; i < end; ++i) {
    int is_constant = 0;
    const OrtValue* value = nullptr;
    check(api_.KernelInfoGetConstantInput_tensor(info, i, &is_constant, &value));
    if (is_constant == 0) return std::nullopt;
    tensors.push_back(checked(value, i));
  }
  return tensors;
}

std::vector<Tensor> Inputs::variables(const OrtKernelContext* context, size_t end) const {
  std::vector<Tensor> tensors;
  for (size_t i = 1; i < end; ++i) tensors.push_back(at(context, i));
  return tensors;
}

Tensor Inputs::checked(const OrtValue* value, size_t index) const {
  Tensor tensor = view(api_, value);
  const InputSpec& spec = specs_[index];
  if (spec.type != abi::kAny) require_type(tensor, spec.type, spec.name, node_);
  return tensor;
}

void* output(const abi::Api& api, OrtKernelContext* context, const Shape& shape) {
  OrtValue* value = nullptr;
  check(api.KernelContext_GetOutput(context, 0, shape.data(), shape.size(), &value));
  void* data = nullptr;
  check(api.GetTensorMutableData(value, &data));
  return data;
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
