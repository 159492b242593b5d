// Products are of float32; activations and results may be of the two-byte types, too.
#pragma once

#include <optional>

#include "abi/ort_abi.h"
#include "ops/buffer.h"
#include "ops/tensor.h"

namespace regc::ops {

// The elements of a float tensor in float32: its own memory, or a copy of those of two bytes.
class Floats {
 public:
  explicit Floats(const Tensor& tensor);
  const float* data() const { return data_; }

 private:
  std::optional<Buffer<float>> copy_;
  const float* data_;
};

// Memory for float32 results of which an output is made: its own, or that of which store() rounds to two bytes.
class Results {
 public:
  Results(void* output, size_t count, int type);
  float* data() const { return data_; }
  void store() const;  // when all results are there

 private:
  void* const output_;
  const size_t count_;
  const int type_;
  std::optional<Buffer<float>> wide_;
  float* data_;
};

}  // namespace regc::ops
