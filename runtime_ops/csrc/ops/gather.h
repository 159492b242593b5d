// The operators y = the rows of a packed matrix that indices name: an embedding of which only those rows are decoded.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "abi/ort_abi.h"
#include "ops/ended.h"
#include "ops/operator.h"
#include "ops/tensor.h"

namespace regc::ops {

// A packed matrix [rows, columns]. Memory belongs to the tensors it came from.
class Table {
 public:
  Table(size_t row_count, size_t column_count) : rows(row_count), columns(column_count) {}
  virtual ~Table() = default;
  virtual void decode(size_t row, float* y) const = 0;
  const size_t rows;
  const size_t columns;
};

// An operator: its first input is indices, int32 or int64 of any shape; the others are the table. Its single output
// is y [..., columns], float32, or of two bytes in the variants that kElements adds to its name.
struct GatherSpec {
  const char* name;
  std::vector<InputSpec> inputs;
  bool bytes_are_columns;  // codes are [rows, columns], from which the shape of y follows
  // As MatMulSpec::read.
  std::unique_ptr<const Table> (*read)(const std::vector<Tensor>& tensors, const std::string& node);
};

// Tables with one row after the other, and tables in the tiles of the matrix products, which read the same tensors.
GatherSpec rf8_gather();
GatherSpec rf8_tiled_gather();
GatherSpec ternary_gather();
GatherSpec ternary_tiled_gather();

// An operator as the runtime gets to know it; must outlive the sessions that use it.
struct GatherOperator : abi::CustomOp {
  GatherOperator(const abi::Api& runtime, const GatherSpec& gather, const ElementSpec& of);
  const abi::Api& api;
  const std::string name;
  const GatherSpec spec;
  const abi::ElementType element;
};

// y's rank from that of indices, and its sizes as far as they are known.
OrtStatus* infer_gather(const abi::CustomOp* op, OrtShapeInferContext* context) noexcept;

}  // namespace regc::ops
