// What may follow a product or a convolution, and all that the variants of an operator for it have in common.
#pragma once

#include <string>
#include <vector>

#include "abi/ort_abi.h"
#include "kernels/kernels.h"
#include "ops/operator.h"

namespace regc::ops {

// What may follow the product: every operator has a variant for each, whose name ends in `suffix`. The variant
// that adds takes one more input, after the others: what is added to y, broadcast as by ONNX's Add.
struct EndingSpec {
  const char* suffix;
  kernels::Ending ending;
};
constexpr EndingSpec kEndings[] = {
    {"", kernels::Ending::none},          {"Relu", kernels::Ending::relu}, {"Gelu", kernels::Ending::gelu},
    {"GeluTanh", kernels::Ending::gelu_tanh}, {"Silu", kernels::Ending::silu}, {"Add", kernels::Ending::add},
};

// The types that products take and give, each in an operator of the same name, and that lookups give: they have no
// input of that type to be told by, so their names end in `suffix`.
struct ElementSpec {
  abi::ElementType type;
  const char* suffix;
};
constexpr ElementSpec kElements[] = {{abi::kFloat, ""}, {abi::kFloat16, "Float16"}, {abi::kBFloat16, "BFloat16"}};

// A variant of an operator, whose Spec has a name and inputs, the first of them of the type that the output has, too.
template <class Spec>
struct EndedOperator : abi::CustomOp {
  EndedOperator(const abi::Api& runtime, const Spec& base, const EndingSpec& follows,
                abi::ElementType type = abi::kFloat)
      : abi::CustomOp{},
        api(runtime),
        name(std::string(base.name) + follows.suffix),
        ending(follows.ending),
        spec(base),
        inputs(base.inputs),
        element(type) {
    inputs[0].type = element;
    if (adds()) inputs.push_back({"other", element});
    set_common_fields(*this);
    GetName = [](const CustomOp* op) { return self(op).name.c_str(); };
    GetInputType = [](const CustomOp* op, size_t index) { return self(op).inputs[index].type; };
    GetOutputType = [](const CustomOp* op, size_t) { return static_cast<int>(self(op).element); };
    GetInputTypeCount = [](const CustomOp* op) { return self(op).inputs.size(); };
  }
  bool adds() const { return ending == kernels::Ending::add; }

  const abi::Api& api;
  const std::string name;
  const kernels::Ending ending;
  const Spec spec;                // of the base
  std::vector<InputSpec> inputs;  // all of them
  const abi::ElementType element;

 private:
  static const EndedOperator& self(const abi::CustomOp* op) { return *static_cast<const EndedOperator*>(op); }
};

}  // namespace regc::ops
