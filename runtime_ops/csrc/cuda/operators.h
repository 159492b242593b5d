// The operators of the CUDA provider. They share names, inputs, checks and shape inference with those of the CPU; the
// input "shape" stays in the memory of the host.
#pragma once

#include "cuda/products.h"
#include "ops/gather.h"
#include "ops/matmul.h"

namespace regc::cuda {

inline Type kernel_type(abi::ElementType element) {
  return element == abi::kFloat ? Type::float32 : element == abi::kFloat16 ? Type::float16 : Type::bfloat16;
}

struct MatMulOperator : ops::Operator {
  MatMulOperator(const abi::Api& runtime, const ops::MatMulSpec& base, const ops::EndingSpec& follows,
                 abi::ElementType type, Format of);
  const Format format;
};

struct GatherOperator : ops::GatherOperator {
  GatherOperator(const abi::Api& runtime, const ops::GatherSpec& gather, const ops::ElementSpec& given, Table::Layout of);
  const Table::Layout layout;
};

}  // namespace regc::cuda
