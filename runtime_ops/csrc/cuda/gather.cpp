// Lookups of rows of packed matrices as operators of the CUDA provider.
#include <cstring>
#include <optional>

#include "cuda/operators.h"
#include "cuda/runtime.h"
#include "ops/error.h"

namespace regc::cuda {

namespace {

using ops::InvalidInput;
using ops::Shape;
using ops::Tensor;

// A node of a session.
class Gather {
 public:
  Gather(const GatherOperator& op, const OrtKernelInfo* info)
      : op_(op), node_(ops::node_prefix(op.api, info, op.name.c_str())), inputs_(op.api, op.spec.inputs, node_) {
    const auto tensors = inputs_.constants(info, op_.spec.inputs.size());
    if (tensors) constant_ = read(*tensors);
  }

  const abi::Api& api() const { return op_.api; }

  void compute(OrtKernelContext* context) const {
    const OnDevice device(op_.api, context);
    const Table table = constant_ ? *constant_ : read(inputs_.variables(context, op_.spec.inputs.size()));
    const Tensor indices = inputs_.at(context, 0);
    if (indices.type != abi::kInt64 && indices.type != abi::kInt32)
      throw InvalidInput(node_ + "indices is neither int32 nor int64");
    const size_t count = ops::count_of(indices.shape);
    Shape shape = indices.shape;
    shape.push_back(static_cast<int64_t>(table.columns));
    void* y = ops::output(op_.api, context, shape);
    const Stream stream = stream_of(op_.api, context);
    const Indices asked{indices.data, indices.type == abi::kInt64, count};
    check_cuda(gather(table, asked, y, kernel_type(op_.element), stream), node_);
  }

 private:
  // The checks are the CPU's. Of the tensors they look only into "shape", which is in the memory of the host.
  Table read(const std::vector<Tensor>& tensors) const {
    const std::unique_ptr<const ops::Table> checked = op_.spec.read(tensors, node_);
    const bool ternary = op_.layout == Table::Layout::ternary || op_.layout == Table::Layout::ternary_tiled;
    Table table{};
    table.layout = op_.layout;
    table.rows = checked->rows;
    table.columns = checked->columns;
    table.codes = tensors[0].as<uint8_t>();
    table.scale = tensors[ternary ? 2 : 1].as<float>();
    if (!ternary) return table;
    table.multiplier = tensors[1].as<uint8_t>();
    table.group = static_cast<size_t>(tensors[3].as<int64_t>()[2]);
    table.groups = ceil_div(table.columns, table.group);
    return table;
  }

  const GatherOperator& op_;
  const std::string node_;
  const ops::Inputs inputs_;
  std::optional<Table> constant_;
};

}  // namespace

GatherOperator::GatherOperator(const abi::Api& runtime, const ops::GatherSpec& gather, const ops::ElementSpec& given,
                               Table::Layout of)
    : ops::GatherOperator(runtime, gather, given), layout(of) {
  place_on_cuda(*this);
  GetInputMemoryType = [](const CustomOp* op, size_t index) -> int {
    const ops::InputSpec& input = static_cast<const GatherOperator*>(op)->spec.inputs[index];
    const bool shape = std::strcmp(input.name, "shape") == 0;
    return shape ? abi::kHostInput : abi::kProviderMemory;
  };
  ops::set_node<GatherOperator, Gather>(*this);
}

}  // namespace regc::cuda
