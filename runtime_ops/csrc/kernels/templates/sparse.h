// Block-sparse weights. Every output is one chain of fused multiply-adds over its kept inputs in ascending
// order, as in FloatSteps.
#pragma once

namespace regc::kernels::REGC_ISA {

// The kept inputs of a tile, count of them in whole blocks; or, where steps take two inputs, the kept pairs.
struct Kept {
  const uint8_t* values;
  const int32_t* index;
  size_t count;
  size_t log2;
  // The place of kept input i in x.
  REGC_INLINE size_t place(const Kept& kept, size_t i) {
    const size_t block = static_cast<size_t>(kept.index[i >> kept.log2]);
    return (block << kept.log2) + (i & ((size_t{1} << kept.log2) - 1));
  }
};

template <class Rows>
REGC_INLINE Kept kept_of(const SparseMatrix& w, size_t tile) {
  const auto begin = static_cast<size_t>(w.start[tile]);
  const auto blocks = static_cast<size_t>(w.start[tile + 1]) - begin;
  const size_t log2 = w.block_log2 - Rows::kLog2;
  return {w.values + (begin << log2) * Rows::kBytes, w.index + begin, blocks << log2, log2};
}

// Four kept inputs from i on; `wide` blocks hold all of them.
template <class Rows, bool kWide>
REGC_INLINE F16 four_inputs(const Kept& kept, size_t i, const float* x, F16 sum) {
  constexpr size_t kAhead = 1024;
  const uint8_t* rows = kept.values + i * Rows::kBytes;
  F16 weight[4];
  Rows::load(rows, weight);
  for (size_t byte = 0; byte < 4 * Rows::kBytes; byte += 64) __builtin_prefetch(rows + kAhead + byte);
  const float* first = x + Kept::place(kept, i);
#pragma GCC unroll 4
  for (size_t k = 0; k < 4; ++k) {
    const float* at = kWide ? first + k : x + Kept::place(kept, i + k);
    sum = fma_f(weight[k], fill_f(*at), sum);
  }
  return sum;
}

// Sums of one row over T tiles, side by side as far as all of them have inputs.
template <class Rows, bool kWide, int T>
REGC_INLINE void sparse_row(const Kept (&kept)[T], const float* x, F16 (&sum)[T]) {
  size_t common = kept[0].count;
  for (int t = 1; t < T; ++t) common = min_of(common, kept[t].count);
  common -= common % 4;
  for (size_t i = 0; i < common; i += 4) {
#pragma GCC unroll 4
    for (int t = 0; t < T; ++t) sum[t] = four_inputs<Rows, kWide>(kept[t], i, x, sum[t]);
  }
#pragma GCC unroll 4
  for (int t = 0; t < T; ++t) {
    size_t i = common;
    for (; i + 4 <= kept[t].count; i += 4) sum[t] = four_inputs<Rows, kWide>(kept[t], i, x, sum[t]);
    for (; i < kept[t].count; ++i) {
      const F16 weight = Rows::load_one(kept[t].values + i * Rows::kBytes);
      sum[t] = fma_f(weight, fill_f(x[Kept::place(kept[t], i)]), sum[t]);
    }
  }
}

template <class Rows, bool kWide>
inline void stream_blocks_of(const SparseTask& task) {
  const SparseMatrix& w = *task.weight;
  over_tiles<kStreamTiles>(task, [&](auto side_by_side, size_t tile) {
    constexpr int T = side_by_side;
    Kept kept[T];
    for (int t = 0; t < T; ++t) kept[t] = kept_of<Rows>(w, tile + static_cast<size_t>(t));
    for (size_t row = 0; row < task.rows; ++row) {
      F16 sum[T];
#pragma GCC unroll 4
      for (int t = 0; t < T; ++t) sum[t] = zero_f();
      sparse_row<Rows, kWide, T>(kept, task.x + row * task.x_stride, sum);
#pragma GCC unroll 4
      for (int t = 0; t < T; ++t)
        finish(task, row, load_columns(w, tile + static_cast<size_t>(t)), sum[t]);
    }
  });
}

template <class Rows>
inline void stream_blocks(const SparseTask& task) {
  return task.weight->block_log2 >= 2 ? stream_blocks_of<Rows, true>(task)
                                      : stream_blocks_of<Rows, false>(task);
}

}  // namespace regc::kernels::REGC_ISA
