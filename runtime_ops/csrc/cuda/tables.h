// Rows of a packed matrix, and sums of tensors of different shapes.
#pragma once

#include "cuda/decode.h"
#include "cuda/elements.h"

namespace regc::cuda {

constexpr unsigned kCopyThreads = 256;

struct GatherArgs {
  Table table;
  Indices indices;
  void* y;  // [count][columns]
  Type type;
};

REGC_DEVICE float ternary_value(const Table& t, uint32_t code, size_t field, size_t multiplier, size_t row) {
  const int trit = static_cast<int>(code >> 2 * field & 3U) - 1;
  return static_cast<float>(trit * static_cast<int>(t.multiplier[multiplier])) * t.scale[row];
}

REGC_DEVICE float table_value(const Table& t, size_t row, size_t k) {
  const size_t tile = row / kTile;
  const size_t in_tile = row % kTile;
  switch (t.layout) {
    case Table::Layout::rf8:
      return rf8_value(t.codes[row * t.columns + k]) * t.scale[row];
    case Table::Layout::rf8_tiled: {
      const size_t blocks = (t.columns + 3) / 4;
      return rf8_value(t.codes[(tile * blocks + k / 4) * kUnit + rf8_place(in_tile, k % 4)]) * t.scale[row];
    }
    case Table::Layout::ternary: {
      const size_t group = static_cast<uint32_t>(k) / static_cast<uint32_t>(t.group);
      const uint32_t code = t.codes[row * ((t.columns + 3) / 4) + k / 4];
      return ternary_value(t, code, k % 4, row * t.groups + group, row);
    }
    default: {
      const size_t group = static_cast<uint32_t>(k) / static_cast<uint32_t>(t.group);
      const size_t blocks = (t.columns + 15) / 16;
      const uint32_t code = t.codes[(tile * blocks + k / 16) * kUnit + in_tile * 4 + k % 4];
      return ternary_value(t, code, k % 16 / 4, (tile * t.groups + group) * kTile + in_tile, row);
    }
  }
}

REGC_LAUNCHED(kCopyThreads) gather_rows(GatherArgs a) {
  const size_t i = blockIdx.x;
  const auto rows = static_cast<int64_t>(a.table.rows);
  int64_t row = a.indices.wide ? static_cast<const int64_t*>(a.indices.index)[i]
                               : static_cast<const int32_t*>(a.indices.index)[i];
  if (row < 0) row += rows;
  const bool known = row >= 0 && row < rows;
  for (size_t k = threadIdx.x; k < a.table.columns; k += kCopyThreads) {
    const float value = known ? table_value(a.table, static_cast<size_t>(row), k) : bits_float(0x7FC00000U);
    store_element(a.y, i * a.table.columns + k, a.type, value);
  }
}

struct AddArgs {
  const float* a;
  const void* b;
  void* sum;
  Type type;  // of b and sum
  Broadcast shape;
};

REGC_LAUNCHED(kCopyThreads) add_broadcast(AddArgs args) {
  const Broadcast& s = args.shape;
  const size_t step = static_cast<size_t>(gridDim.x) * kCopyThreads;
  for (size_t i = static_cast<size_t>(blockIdx.x) * kCopyThreads + threadIdx.x; i < s.count; i += step) {
    auto left = static_cast<int64_t>(i);
    int64_t a = 0;
    int64_t b = 0;
    for (size_t axis = s.rank; axis-- > 0;) {
      const int64_t index = left % s.size[axis];
      left /= s.size[axis];
      a += index * s.a_stride[axis];
      b += index * s.b_stride[axis];
    }
    store_element(args.sum, i, args.type, args.a[a] + load_element(args.b, static_cast<size_t>(b), args.type));
  }
}

}  // namespace regc::cuda
