#include "ops/shape_inference.h"

#include <algorithm>
#include <atomic>

#include "ops/error.h"
#include "ops/gather.h"
#include "ops/matmul.h"

namespace regc::ops {

namespace {

// A symbol that no other dimension has. The runtime writes a dimension without value or symbol as -1, which
// fails the loading of the model, and takes equal symbols for equal sizes when it plans memory. The count
// affects no result.
std::string fresh_symbol() {
  static std::atomic<unsigned long long> count{0};
  return "ai.regc.unknown." + std::to_string(count.fetch_add(1, std::memory_order_relaxed));
}

void set(const abi::Api& api, OrtShapeInferContext* context, const Dimensions& y, int type,
         OrtTensorTypeAndShapeInfo* info) {
  std::vector<const char*> symbols;
  for (const std::string& symbol : y.symbols) symbols.push_back(symbol.c_str());
  check(api.SetTensorElementType(info, type));
  check(api.SetDimensions(info, y.values.data(), y.values.size()));
  check(api.SetSymbolicDimensions(info, symbols.data(), symbols.size()));
  check(api.ShapeInferContext_SetOutputTypeShape(context, 0, info));
}

// Puts dimensions of size 1 in front until there are `rank`.
void pad(Dimensions& dimensions, size_t rank) {
  const size_t missing = rank - std::min(rank, dimensions.values.size());
  dimensions.values.insert(dimensions.values.begin(), missing, 1);
  dimensions.symbols.insert(dimensions.symbols.begin(), missing, "");
}

}  // namespace

Dimensions dimensions_of(const abi::Api& api, const OrtShapeInferContext* context, size_t index) {
  OrtTensorTypeAndShapeInfo* info = nullptr;  // belongs to the context
  check(api.ShapeInferContext_GetInputTypeShape(context, index, &info));
  size_t rank = 0;
  check(api.GetDimensionsCount(info, &rank));
  Dimensions dimensions{Shape(rank), {}};
  check(api.GetDimensions(info, dimensions.values.data(), rank));
  std::vector<const char*> symbols(rank, "");
  check(api.GetSymbolicDimensions(info, symbols.data(), rank));
  dimensions.symbols.assign(symbols.begin(), symbols.end());
  return dimensions;
}

int type_of(const abi::Api& api, const OrtShapeInferContext* context, size_t index) {
  OrtTensorTypeAndShapeInfo* info = nullptr;  // belongs to the context
  check(api.ShapeInferContext_GetInputTypeShape(context, index, &info));
  int type = 0;
  check(api.GetTensorElementType(info, &type));
  return type;
}

void set_output(const abi::Api& api, OrtShapeInferContext* context, Dimensions y, int type) {
  for (size_t i = 0; i < y.values.size(); ++i) {
    if (y.values[i] < 0 && y.symbols[i].empty()) y.symbols[i] = fresh_symbol();
  }
  OrtTensorTypeAndShapeInfo* info = nullptr;
  check(api.CreateTensorTypeAndShapeInfo(&info));
  try {
    set(api, context, y, type, info);
  } catch (...) {
    api.ReleaseTensorTypeAndShapeInfo(info);
    throw;
  }
  api.ReleaseTensorTypeAndShapeInfo(info);
}

void add(Dimensions& y, Dimensions other) {
  const size_t rank = std::max(y.values.size(), other.values.size());
  pad(y, rank);
  pad(other, rank);
  for (size_t i = 0; i < rank; ++i) {
    const int64_t size = other.values[i];
    const bool same = size == y.values[i] && other.symbols[i] == y.symbols[i];
    if (same || size == 1 || y.values[i] > 1) continue;  // of two sizes, 1 is repeated
    const bool known = size > 1 || y.values[i] == 1;
    y.values[i] = known ? size : kUnknown;
    y.symbols[i] = known ? other.symbols[i] : "";
  }
}

namespace {

void infer(const Operator& op, OrtShapeInferContext* context) {
  Dimensions y = dimensions_of(op.api, context, 0);
  const Dimensions scale = dimensions_of(op.api, context, op.spec.scale_index);
  if (y.values.empty()) return;  // an unknown rank looks like a scalar
  const bool known = scale.values.size() == 1;
  y.values.back() = known ? scale.values[0] : kUnknown;
  y.symbols.back() = known ? scale.symbols[0] : "";
  if (op.adds()) {
    const Dimensions other = dimensions_of(op.api, context, op.inputs.size() - 1);
    if (other.values.empty()) return;
    add(y, other);
  }
  set_output(op.api, context, y, type_of(op.api, context, 0));  // of operators of one name the first is asked
}

void infer(const GatherOperator& op, OrtShapeInferContext* context) {
  Dimensions y = dimensions_of(op.api, context, 0);
  if (y.values.empty()) return;  // an unknown rank looks like a scalar
  const Dimensions codes = dimensions_of(op.api, context, 1);
  const bool known = op.spec.bytes_are_columns && codes.values.size() == 2;
  y.values.push_back(known ? codes.values[1] : kUnknown);
  y.symbols.push_back(known ? codes.symbols[1] : "");
  set_output(op.api, context, y, op.element);
}

}  // namespace

OrtStatus* infer_shape(const abi::CustomOp* op, OrtShapeInferContext* context) noexcept {
  const auto& self = *static_cast<const Operator*>(op);
  return guarded(self.api, [&] { infer(self, context); });
}

OrtStatus* infer_gather(const abi::CustomOp* op, OrtShapeInferContext* context) noexcept {
  const auto& self = *static_cast<const GatherOperator*>(op);
  return guarded(self.api, [&] { infer(self, context); });
}

}  // namespace regc::ops
