// A tile's part of a weight, and from its sums to its outputs.
#pragma once

namespace regc::kernels::REGC_ISA {

REGC_INLINE size_t tiles_of(const Matrix& w) { return ceil_div(w.outputs, kTile); }
REGC_INLINE const uint8_t* tile_codes(const Matrix& w, size_t tile) {
  return w.codes + tile * w.blocks * kUnit;
}
REGC_INLINE const uint8_t* tile_multiplier(const Matrix& w, size_t tile, size_t group) {
  return w.multiplier + (tile * w.groups + group) * kTile;
}
REGC_INLINE size_t group_end(const Matrix& w, size_t group) {
  return min_of((group + 1) * w.group_blocks, w.blocks);
}

// Scale and bias of the outputs of a tile.
struct Columns {
  F16 scale;
  F16 bias;
  size_t first;
  size_t count;
};

REGC_INLINE Columns load_columns(const Affine& w, size_t tile) {
  const size_t first = tile * kTile;
  const size_t count = min_of(kTile, w.outputs - first);
  const F16 bias = w.bias_step != 0 ? load_some(w.bias + first, count) : fill_f(*w.bias);
  return {load_some(w.scale + first, count), bias, first, count};
}

// Stores the outputs of one row of a task: sum * scale + bias, rounded twice as in the function body, and what
// follows it.
template <class Task>
REGC_INLINE void finish(const Task& task, size_t row, const Columns& columns, F16 sum) {
  const size_t place = row * task.weight->outputs + columns.first;
  F16 v = add_f(mul_f(sum, columns.scale), columns.bias);
  if (task.out.ending != Ending::none) v = ended(task.out, v, place, columns.count);
  store_some(task.out.y + place, v, columns.count);
}

}  // namespace regc::kernels::REGC_ISA
