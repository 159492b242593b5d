// A tensor of the runtime as type, shape and memory.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "abi/ort_abi.h"

namespace regc::ops {

using Shape = std::vector<int64_t>;

struct Tensor {
  int type;
  Shape shape;
  const void* data;

  template <class T>
  const T* as() const {
    return static_cast<const T*>(data);
  }
};

// Views a value of the runtime; nothing is copied.
Tensor view(const abi::Api& api, const OrtValue* value);

// The number of elements.
size_t count_of(const Shape& shape);

// "[4, 16]"
std::string text(const Shape& shape);

// What a tensor has to be: `name` is the operator's name of the input. Throws InvalidInput starting with
// `node`.
void require_type(const Tensor& tensor, int type, const char* name, const std::string& node);
void require_shape(const Tensor& tensor, const Shape& expected, const char* name, const std::string& why,
                   const std::string& node);

}  // namespace regc::ops
