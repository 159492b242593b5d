#include "ops/gather.h"

#include <algorithm>

#include "ops/error.h"
#include "ops/halves.h"
#include "ops/parallel.h"

namespace regc::ops {

namespace {

// Values that a task decodes: some microseconds, so that a second thread pays.
constexpr size_t kTaskValues = 32 * 1024;

const GatherOperator& self(const abi::CustomOp* op) { return *static_cast<const GatherOperator*>(op); }

// A node of a session.
class Gather {
 public:
  Gather(const GatherOperator& op, const OrtKernelInfo* info)
      : op_(op),
        node_(node_prefix(op.api, info, op.name.c_str())),
        inputs_(op.api, op.spec.inputs, node_),
        constant_(read_constant(info)) {}

  const abi::Api& api() const { return op_.api; }

  void compute(OrtKernelContext* context) const {
    const std::unique_ptr<const Table> read = constant_ == nullptr ? read_inputs(context) : nullptr;
    const Table& table = constant_ == nullptr ? *read : *constant_;
    const Tensor indices = inputs_.at(context, 0);
    const std::vector<size_t> rows = rows_of(indices, table.rows);
    Shape shape = indices.shape;
    shape.push_back(static_cast<int64_t>(table.columns));
    const Results y(output(op_.api, context, shape), rows.size() * table.columns, op_.element);
    const size_t step = std::max<size_t>(kTaskValues / table.columns, 1);
    const Parallel parallel(op_.api, context);
    parallel.run((rows.size() + step - 1) / step, [&](size_t task) {
      const size_t end = std::min(rows.size(), (task + 1) * step);
      for (size_t i = task * step; i < end; ++i) table.decode(rows[i], y.data() + i * table.columns);
    });
    y.store();
  }

 private:
  // All are checked before anything is decoded. Negative ones count from the end, as in ONNX.
  std::vector<size_t> rows_of(const Tensor& indices, size_t size) const {
    if (indices.type == abi::kInt64) return rows_of(indices.as<int64_t>(), indices.shape, size);
    if (indices.type == abi::kInt32) return rows_of(indices.as<int32_t>(), indices.shape, size);
    throw InvalidInput(node_ + "indices is neither int32 nor int64");
  }

  template <class Index>
  std::vector<size_t> rows_of(const Index* indices, const Shape& shape, size_t size) const {
    size_t count = 1;
    for (const int64_t dimension : shape) count *= static_cast<size_t>(dimension);
    std::vector<size_t> rows(count);
    const auto bound = static_cast<int64_t>(size);
    for (size_t i = 0; i < count; ++i) {
      const int64_t index = indices[i];
      if (index < -bound || index >= bound) throw InvalidInput(out_of_range(index, i, bound));
      rows[i] = static_cast<size_t>(index < 0 ? index + bound : index);
    }
    return rows;
  }

  std::string out_of_range(int64_t index, size_t position, int64_t size) const {
    return node_ + "indices has the value " + std::to_string(index) + " at position " + std::to_string(position) +
           ", it must be from " + std::to_string(-size) + " to " + std::to_string(size - 1) + " for a table of " +
           std::to_string(size) + " rows";
  }

  // The table when all of its inputs are constant, used in place; else null, and it is read at every call.
  std::unique_ptr<const Table> read_constant(const OrtKernelInfo* info) const {
    const auto tensors = inputs_.constants(info, op_.spec.inputs.size());
    return tensors ? op_.spec.read(*tensors, node_) : nullptr;
  }

  std::unique_ptr<const Table> read_inputs(const OrtKernelContext* context) const {
    return op_.spec.read(inputs_.variables(context, op_.spec.inputs.size()), node_);
  }

  const GatherOperator& op_;
  const std::string node_;
  const Inputs inputs_;
  const std::unique_ptr<const Table> constant_;
};

}  // namespace

GatherOperator::GatherOperator(const abi::Api& runtime, const GatherSpec& gather, const ElementSpec& of)
    : abi::CustomOp{}, api(runtime), name(std::string(gather.name) + of.suffix), spec(gather), element(of.type) {
  set_common_fields(*this);
  GetName = [](const CustomOp* op) { return self(op).name.c_str(); };
  GetOutputType = [](const CustomOp* op, size_t) { return static_cast<int>(self(op).element); };
  GetInputType = [](const CustomOp* op, size_t index) { return self(op).spec.inputs[index].type; };
  GetInputTypeCount = [](const CustomOp* op) { return self(op).spec.inputs.size(); };
  set_node<GatherOperator, Gather>(*this);
  InferOutputShapeFn = infer_gather;
}

}  // namespace regc::ops
