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

inline void pack_rows(const PackTask& task) {
  constexpr size_t kStep = 16;  // inputs that are turned at a time: whole lines are read and written
  for (size_t first = 0; first < task.rows; first += kPackedRows) {
    const size_t height = min_of(kPackedRows, task.rows - first);
    float* panel = task.packed + first * task.padded;
    if (height < kPackedRows) std::memset(panel, 0, task.padded * kPackedRows * sizeof(float));
    for (size_t begin = 0; begin < task.inputs; begin += kStep) {
      const size_t end = min_of(begin + kStep, task.inputs);
      for (size_t row = 0; row < height; ++row) {
        const float* x = task.x + (first + row) * task.inputs;
        for (size_t k = begin; k < end; ++k) panel[k * kPackedRows + row] = x[k];
      }
    }
    float* padding = panel + task.inputs * kPackedRows;
    std::memset(padding, 0, (task.padded - task.inputs) * kPackedRows * sizeof(float));
  }
}

// The register tile: R of the rows of a panel by one tile, over steps [begin, end) of what is kept, in whole blocks.
template <class Steps, size_t R>
REGC_INLINE void sparse_tile(const uint8_t* weights, const Kept& kept, size_t begin, size_t end, const uint8_t* panel,
                             uint8_t* sums) {
  typename Steps::Sum sum[R];
  const auto none = Steps::zero();
#pragma GCC unroll 16
  for (size_t r = 0; r < R; ++r) sum[r] = Steps::open(sums + r * kUnit, none);
  constexpr size_t kAhead = 2048;  // bytes: measured 10 to 30 % faster where values come from memory
  const size_t block = size_t{1} << kept.log2;
  for (size_t i = begin; i < end; i += block) {
    const uint8_t* x = panel + Kept::place(kept, i) * kPackedRows * 4;
    for (size_t k = 0; k < block; ++k, weights += kUnit, x += kPackedRows * 4) {
      const auto weight = Steps::load(weights);
      __builtin_prefetch(weights + kAhead);
#pragma GCC unroll 16
      for (size_t r = 0; r < R; ++r) sum[r] = Steps::step(sum[r], weight, Steps::fill(x + 4 * r));
    }
  }
#pragma GCC unroll 16
  for (size_t r = 0; r < R; ++r) Steps::close(sums + r * kUnit, sum[r]);
}

// A panel of `height` rows in register tiles of whole fours; rows of padding are multiplied too.
template <class Steps>
REGC_INLINE void sparse_tiles(const uint8_t* weights, const Kept& kept, size_t begin, size_t end,
                              const uint8_t* panel, size_t height, uint8_t* sums) {
  for (size_t row = 0; row < height; row += kSparseRows) {
    switch (ceil_div(min_of(height - row, kSparseRows), 4)) {
#define REGC_FOURS(F)                                                                                      \
  case F:                                                                                                  \
    if constexpr (4 * F <= kSparseRows)                                                                    \
      sparse_tile<Steps, 4 * F>(weights, kept, begin, end, panel + 4 * row, sums + row * kUnit); \
    break;
      REGC_FOURS(1)
      REGC_FOURS(2)
      REGC_FOURS(3)
      REGC_FOURS(4)
#undef REGC_FOURS
      default:
        break;
    }
  }
}

template <class Rows>
inline void panel_blocks(const SparseTask& task) {
  using Steps = typename Rows::Steps;
  constexpr size_t kSlice = min_of(256, Steps::kMostSteps);  // their weights stay in L1 while all panels use them
  alignas(64) uint8_t buffer[kSlice * kUnit];
  alignas(64) uint8_t sums[kSparseRowBlock * kUnit];
  const SparseMatrix& w = *task.weight;
  for (size_t tile = task.tile_begin; tile < task.tile_end; ++tile) {
    const Kept kept = kept_of<Rows>(w, tile);
    std::memset(sums, 0, sizeof(sums));
    for (size_t begin = 0; begin < kept.count; begin += kSlice) {
      const size_t end = min_of(begin + kSlice, kept.count);
      const uint8_t* weights = Rows::slice(kept.values + begin * Rows::kBytes, end - begin, buffer);
      for (size_t row = 0; row < task.rows; row += kPackedRows) {
        const auto* panel = reinterpret_cast<const uint8_t*>(task.x + row * task.x_stride);
        const size_t height = min_of(kPackedRows, task.rows - row);
        sparse_tiles<Steps>(weights, kept, begin, end, panel, height, sums + row * kUnit);
      }
    }
    const Columns columns = load_columns(w, tile);
    for (size_t row = 0; row < task.rows; ++row)
      finish(task, row, columns, Steps::value(sums + row * kUnit, task.row_scale, row));
  }
}

}  // namespace regc::kernels::REGC_ISA
