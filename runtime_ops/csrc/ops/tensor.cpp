#include "ops/tensor.h"

#include "ops/error.h"

namespace regc::ops {

namespace {

class TypeAndShape {
 public:
  TypeAndShape(const abi::Api& api, const OrtValue* value) : api_(api) {
    check(api.GetTensorTypeAndShape(value, &info_));
  }
  ~TypeAndShape() { api_.ReleaseTensorTypeAndShapeInfo(info_); }
  TypeAndShape(const TypeAndShape&) = delete;
  TypeAndShape& operator=(const TypeAndShape&) = delete;

  int type() const {
    int type = 0;
    check(api_.GetTensorElementType(info_, &type));
    return type;
  }
  Shape shape() const {
    size_t rank = 0;
    check(api_.GetDimensionsCount(info_, &rank));
    Shape shape(rank);
    check(api_.GetDimensions(info_, shape.data(), rank));
    return shape;
  }

 private:
  const abi::Api& api_;
  OrtTensorTypeAndShapeInfo* info_ = nullptr;
};

const char* type_name(int type) {
  switch (type) {
    case abi::kFloat:
      return "float32";
    case abi::kUInt8:
      return "uint8";
    case abi::kInt32:
      return "int32";
    case abi::kInt64:
      return "int64";
    case abi::kFloat16:
      return "float16";
    case abi::kBFloat16:
      return "bfloat16";
    default:
      return "another type";
  }
}

}  // namespace

Tensor view(const abi::Api& api, const OrtValue* value) {
  if (value == nullptr) throw InvalidInput("ai.regc: an input is missing");
  const TypeAndShape info(api, value);
  void* data = nullptr;
  // The C API has no getter for constant data that all versions share; nothing is written through the
  // pointer.
  check(api.GetTensorMutableData(const_cast<OrtValue*>(value), &data));
  return {info.type(), info.shape(), data};
}

std::string text(const Shape& shape) {
  std::string out = "[";
  for (size_t i = 0; i < shape.size(); ++i) out += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  return out + "]";
}

size_t count_of(const Shape& shape) {
  size_t count = 1;
  for (const int64_t size : shape) count *= static_cast<size_t>(size);
  return count;
}

void require_type(const Tensor& tensor, int type, const char* name, const std::string& node) {
  if (tensor.type == type) return;
  throw InvalidInput(node + name + " is " + type_name(tensor.type) + ", expected " + type_name(type));
}

void require_shape(const Tensor& tensor, const Shape& expected, const char* name, const std::string& why,
                   const std::string& node) {
  if (tensor.shape == expected) return;
  throw InvalidInput(node + name + " has shape " + text(tensor.shape) + ", expected " + text(expected) + why);
}

}  // namespace regc::ops
