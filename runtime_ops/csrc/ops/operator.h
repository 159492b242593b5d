// What all operators of the library share, whatever they compute.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "abi/ort_abi.h"
#include "kernels/isa.h"
#include "ops/error.h"
#include "ops/tensor.h"

namespace regc::ops {

struct InputSpec {
  const char* name;
  int type;  // abi::kAny: the operator checks it itself
};

// "ai.regc::Name node 'its name': ", which errors begin with.
std::string node_prefix(const abi::Api& api, const OrtKernelInfo* info, const std::string& operator_name);

// The CPU's best instruction set, up to the one that the environment variable REGC_ISA names.
kernels::Isa chosen_isa(const std::string& node);

// The inputs of a node, checked for their types. Those from the second up to `end` are the weight.
class Inputs {
 public:
  Inputs(const abi::Api& api, const std::vector<InputSpec>& specs, const std::string& node)
      : api_(api), specs_(specs), node_(node) {}

  Tensor at(const OrtKernelContext* context, size_t index) const;
  // inputs[1:end] when all of them are constant.
  std::optional<std::vector<Tensor>> constants(const OrtKernelInfo* info, size_t end) const;
  std::vector<Tensor> variables(const OrtKernelContext* context, size_t end) const;

 private:
  Tensor checked(const OrtValue* value, size_t index) const;

  const abi::Api& api_;
  const std::vector<InputSpec>& specs_;
  const std::string& node_;
};

// The memory of the operator's one output of this shape.
void* output(const abi::Api& api, OrtKernelContext* context, const Shape& shape);

// The operators that this library has for another execution provider, in the same domain: ONNX Runtime takes a domain
// from one library only. In no_provider.cpp none, in cuda/operators.cpp those of the CUDA provider.
std::vector<std::shared_ptr<const abi::CustomOp>> provider_operators(const abi::Api& api);

// Fills in all that does not depend on the operator: CPU, required inputs, one output, float32 unless told
// otherwise, version 1.
void set_common_fields(abi::CustomOp& op);

// Lets the runtime make, run and destroy the nodes of an operator of type Op: objects of class Node, made of the
// operator and an OrtKernelInfo, which have api() and compute(context).
template <class Op, class Node>
void set_node(abi::CustomOp& op) {
  op.CreateKernelV2 = [](const abi::CustomOp* self, const OrtApi*, const OrtKernelInfo* info,
                         void** kernel) noexcept -> OrtStatus* {
    *kernel = nullptr;
    const Op& own = *static_cast<const Op*>(self);
    return guarded(own.api, [&] { *kernel = new Node(own, info); });
  };
  op.KernelComputeV2 = [](void* kernel, OrtKernelContext* context) noexcept -> OrtStatus* {
    const auto& node = *static_cast<const Node*>(kernel);
    return guarded(node.api(), [&] { node.compute(context); });
  };
  op.KernelDestroy = [](void* kernel) { delete static_cast<Node*>(kernel); };
}

}  // namespace regc::ops
