#include "cuda/operators.h"

namespace regc::ops {

std::vector<std::shared_ptr<const abi::CustomOp>> provider_operators(const abi::Api& api) {
  using cuda::Format;
  using Layout = cuda::Table::Layout;
  const struct {
    MatMulSpec spec;
    Format format;
  } kProducts[] = {
      {ternary_matmul(), Format::ternary},
      {ternary5_matmul(), Format::ternary5},
      {ternary_matmul_float(), Format::ternary_float},
      {ternary5_matmul_float(), Format::ternary5_float},
      {rf8_matmul(), Format::rf8},
      {block_sparse_matmul(), Format::sparse},
      {block_sparse_rf8_matmul(), Format::sparse_rf8},
      {gated_matmul(), Format::gated},
      {gated_rf8_matmul(), Format::gated_rf8},
      {gated_topk_matmul(), Format::gated_topk},
      {gated_topk_rf8_matmul(), Format::gated_topk_rf8},
  };
  const struct {
    GatherSpec spec;
    Layout layout;
  } kTables[] = {
      {rf8_gather(), Layout::rf8},
      {rf8_tiled_gather(), Layout::rf8_tiled},
      {ternary_gather(), Layout::ternary},
      {ternary_tiled_gather(), Layout::ternary_tiled},
  };
  std::vector<std::shared_ptr<const abi::CustomOp>> operators;
  for (const auto& product : kProducts) {
    for (const EndingSpec& ending : kEndings)
      for (const ElementSpec& element : kElements)
        operators.push_back(
            std::make_shared<cuda::MatMulOperator>(api, product.spec, ending, element.type, product.format));
  }
  for (const auto& table : kTables)
    for (const ElementSpec& element : kElements)
      operators.push_back(std::make_shared<cuda::GatherOperator>(api, table.spec, element, table.layout));
  return operators;
}

}  // namespace regc::ops
