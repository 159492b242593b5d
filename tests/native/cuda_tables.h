// Checks of what looks up rows of tables, and of sums of tensors of different shapes, against their definitions.
#pragma once

#include "cuda_defined.h"
#include "cuda_problems.h"

namespace regc::test {

inline void check_table(Random& random, cuda::Table::Layout layout) {
  using Layout = cuda::Table::Layout;
  const bool coded = layout == Layout::rf8 || layout == Layout::rf8_tiled;
  const bool tiled = layout == Layout::rf8_tiled || layout == Layout::ternary_tiled;
  const size_t rows = between(random, 1, 50);
  const size_t columns = between(random, 1, 400);
  const size_t group = random() % 2 == 0 ? columns : 16 * between(random, 1, 4);
  const size_t groups = ceil_div(columns, group);
  const size_t tile_rows = tiled ? ceil_div(rows, kTile) * kTile : rows;
  const size_t row_bytes = layout == Layout::rf8         ? columns
                           : layout == Layout::rf8_tiled ? ceil_div(columns, 4) * 4
                           : layout == Layout::ternary   ? ceil_div(columns, 4)
                                                         : ceil_div(columns, 16) * 4;
  Exact<uint8_t> codes(tile_rows * row_bytes);
  Exact<uint8_t> multiplier(tile_rows * groups);
  Exact<float> scale(rows);
  Exact<int64_t> index(between(random, 1, 9));
  fill(random, codes.data(), codes.size());
  fill(random, multiplier.data(), multiplier.size());
  fill(random, scale.data(), scale.size(), false);
  const auto bound = static_cast<int64_t>(rows);
  for (size_t i = 0; i < index.size(); ++i)  // two of them are out of range
    index[i] = static_cast<int64_t>(between(random, 0, 2 * rows + 1)) - bound - 1;
  Guarded<float> y(index.size() * columns);
  const cuda::Table table{layout, rows, columns, codes.data(), multiplier.data(), group, groups, scale.data()};
  const cuda::Indices indices{index.data(), true, index.size()};
  if (cuda::gather(table, indices, y.data(), cuda::Type::float32, nullptr) != 0) fail("was not launched");
  if (!y.intact()) fail("wrote outside of its output");
  for (size_t i = 0; i < index.size(); ++i) {
    const bool known = index[i] >= -bound && index[i] < bound;
    const auto row = static_cast<size_t>(known ? index[i] < 0 ? index[i] + bound : index[i] : 0);
    for (size_t k = 0; k < columns; ++k) {
      const float actual = y.data()[i * columns + k];
      if (!known) {
        if (actual == actual) fail("a row that is none is not NaN");
        continue;
      }
      float value;
      if (coded) {
        const size_t unit = (row / 16 * ceil_div(columns, 4) + k / 4) * 64;
        const size_t at = tiled ? unit + row % 16 / 4 * 16 + k % 4 / 2 * 8 + row % 4 * 2 + k % 2 : row * columns + k;
        value = rf8_defined(codes[at]);
      } else {
        const size_t unit = (row / 16 * ceil_div(columns, 16) + k / 16) * 64 + row % 16 * 4;
        const int field = tiled ? codes[unit + k % 4] >> 2 * (k % 16 / 4)
                                : codes[row * ceil_div(columns, 4) + k / 4] >> 2 * (k % 4);
        const size_t at = tiled ? (row / 16 * groups + k / group) * 16 + row % 16 : row * groups + k / group;
        value = static_cast<float>(((field & 3) - 1) * multiplier[at]);
      }
      if (actual != value * scale[row]) fail("differs from the definition");
    }
  }
}

inline void check_add(Random& random, int) {
  const int64_t size[3] = {static_cast<int64_t>(between(random, 1, 5)), static_cast<int64_t>(between(random, 1, 9)),
                           static_cast<int64_t>(between(random, 1, 90))};
  const bool repeated[2][3] = {{random() % 2 == 0, random() % 2 == 0, false},
                               {random() % 2 == 0, false, random() % 2 == 0}};
  cuda::Broadcast shape{3, static_cast<size_t>(size[0] * size[1] * size[2]), {}, {}, {}};
  int64_t count[2] = {1, 1};
  for (int axis = 2; axis >= 0; --axis) {
    shape.size[axis] = size[axis];
    shape.a_stride[axis] = repeated[0][axis] ? 0 : count[0];
    shape.b_stride[axis] = repeated[1][axis] ? 0 : count[1];
    for (int i = 0; i < 2; ++i) count[i] *= repeated[i][axis] ? 1 : size[axis];
  }
  const auto type = static_cast<cuda::Type>(random() % 3);
  Exact<float> a(static_cast<size_t>(count[0]));
  Exact<float> values(static_cast<size_t>(count[1]));
  Typed b(type, values.size());
  fill(random, a.data(), a.size(), false);
  fill(random, values.data(), values.size(), false);
  for (size_t i = 0; i < values.size(); ++i) b.set(i, values[i]);
  Guarded<uint8_t> sum(shape.count * (type == cuda::Type::float32 ? 4 : 2));
  Typed expected(type, 1);
  if (cuda::add(a.data(), b.data(), sum.data(), type, shape, nullptr) != 0) fail("not launched");
  if (!sum.intact()) fail("wrote outside of its output");
  for (size_t i = 0; i < shape.count; ++i) {
    const auto at = static_cast<int64_t>(i);
    const int64_t index[3] = {at / size[2] / size[1], at / size[2] % size[1], at % size[2]};
    int64_t places[2] = {0, 0};
    for (int axis = 0; axis < 3; ++axis) {
      places[0] += index[axis] * shape.a_stride[axis];
      places[1] += index[axis] * shape.b_stride[axis];
    }
    expected.set(0, a[static_cast<size_t>(places[0])] + b.get(static_cast<size_t>(places[1])));
    if (cuda::load_element(sum.data(), i, type) != expected.get(0)) fail("a sum is wrong");
  }
}

}  // namespace regc::test
