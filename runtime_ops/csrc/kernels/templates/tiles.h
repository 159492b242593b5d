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

// The first `count` of sixteen floats; the others are zero.
REGC_INLINE F16 load_some(const float* p, size_t count) {
  if (count >= kTile) return load_f(p);
  float padded[kTile] = {};
  std::memcpy(padded, p, count * sizeof(float));
  return load_f(padded);
}

REGC_INLINE void store_some(float* p, F16 v, size_t count) {
  if (count >= kTile) return store_f(p, v);
  float padded[kTile];
  store_f(padded, v);
  std::memcpy(p, padded, count * sizeof(float));
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

// sum * scale + bias, rounded twice as in the function body.
REGC_INLINE void finish(const Columns& columns, F16 sum, float* y_row) {
  store_some(y_row + columns.first, add_f(mul_f(sum, columns.scale), columns.bias), columns.count);
}

}  // namespace regc::kernels::REGC_ISA
