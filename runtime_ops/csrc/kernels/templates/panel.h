// Many rows: a panel of tiles is decoded once, a slice of inputs at a time, and reused over a block of rows.
#pragma once

namespace regc::kernels::REGC_ISA {

// Rows that one decoding serves: a multiple of the rows of every register tile.
constexpr size_t kRowBlock = 192;

// Decodes blocks [begin, end) of T tiles to [steps][T] vectors of 64 bytes. Tiles take turns, so that the
// panel is written from front to back; a tile at a time would write to a T-th of the cache's sets.
template <class Format, int T>
REGC_INLINE void decode_slice(const Matrix& w, size_t tile, size_t begin, size_t end, uint8_t* panel,
                              typename Format::Steps::Sum (&excess)[T]) {
  using Weight = typename Format::Steps::Weight;
  const uint8_t* codes[T];  // here, since gcc 12 believes that a store into the panel may change w
#pragma GCC unroll 4
  for (int t = 0; t < T; ++t) {
    excess[t] = Format::Steps::zero();
    codes[t] = tile_codes(w, tile + static_cast<size_t>(t));
  }
  for (size_t block = begin; block < end;) {
    const size_t g = block / w.group_blocks;
    typename Format::Group group[T];
#pragma GCC unroll 4
    for (int t = 0; t < T; ++t) group[t] = Format::group(w, tile + static_cast<size_t>(t), g);
    for (const size_t stop = min_of(group_end(w, g), end); block < stop; ++block) {
      uint8_t* out = panel + (block - begin) * Format::kSteps * T * kUnit;
#pragma GCC unroll 4
      for (int t = 0; t < T; ++t, out += kUnit) {
        Format::each(codes[t] + block * kUnit, group[t], [&](size_t k, Weight weight) {
          Format::Steps::store(out + k * T * kUnit, weight);
          excess[t] = Format::Steps::count(excess[t], weight);
        });
      }
    }
  }
}

// The decoded weights of T tiles, step by step.
template <class Steps, int T>
struct PanelWeights {
  const uint8_t* panel;
  REGC_INLINE void take(PanelWeights& from, typename Steps::Weight (&weight)[T]) {
#pragma GCC unroll 4
    for (int t = 0; t < T; ++t) weight[t] = Steps::load(from.panel + static_cast<size_t>(t) * kUnit);
    from.panel += T * kUnit;
  }
};

// The register tile: R rows by T tiles, their sums in registers over the steps of a slice, whose weights Weights::take
// gives. Loops over the sums are unrolled by pragma throughout: gcc 12 keeps an array in memory as soon as one index to
// it is a variable.
template <class Steps, int R, int T, class Weights>
REGC_INLINE void register_tile(Weights& source, size_t steps, const uint8_t* x, size_t x_stride, uint8_t* sums,
                               const typename Steps::Sum (&excess)[T]) {
  Weights weights = source;  // in registers
  typename Steps::Sum sum[R][T];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int t = 0; t < T; ++t) sum[r][t] = Steps::open(sums + (r * T + t) * 64, excess[t]);
  }
  for (size_t s = 0; s < steps; ++s, x += 4) {
    typename Steps::Weight weight[T];
    Weights::take(weights, weight);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const auto activation = Steps::fill(x + static_cast<size_t>(r) * x_stride);
#pragma GCC unroll 4
      for (int t = 0; t < T; ++t) sum[r][t] = Steps::step(sum[r][t], weight[t], activation);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int t = 0; t < T; ++t) Steps::close(sums + (r * T + t) * 64, sum[r][t]);
  }
  source = weights;
}

// The register tile of `height` rows.
template <class Steps, int T, class Weights>
inline void multiply_rows(size_t height, Weights& weights, size_t steps, const uint8_t* x, size_t x_stride,
                          uint8_t* sums, const typename Steps::Sum (&excess)[T]) {
  switch (height) {
#define REGC_HEIGHT(R)                                                                                          \
  case R:                                                                                                       \
    if constexpr (R <= kPanelRows) register_tile<Steps, R, T>(weights, steps, x, x_stride, sums, excess); \
    break;
    REGC_HEIGHT(1)
    REGC_HEIGHT(2)
    REGC_HEIGHT(3)
    REGC_HEIGHT(4)
    REGC_HEIGHT(5)
    REGC_HEIGHT(6)
#undef REGC_HEIGHT
    default:
      break;
  }
}

// Calls function(first row, height) for register tiles of nearly equal height: 32 rows are 5 + 5 + 6 + 5 + 5 + 6.
template <class Function>
REGC_INLINE void over_rows(size_t rows, const Function& function) {
  const size_t parts = ceil_div(rows, kPanelRows);
  for (size_t part = 0; part < parts; ++part) {
    const size_t row = rows * part / parts;
    function(row, rows * (part + 1) / parts - row);
  }
}

// All rows of a block against one slice.
template <class Steps, int T>
inline void multiply_slice(const uint8_t* panel, size_t steps, const uint8_t* x, size_t x_stride, size_t rows,
                           uint8_t* sums, const typename Steps::Sum (&excess)[T]) {
  over_rows(rows, [&](size_t row, size_t height) {
    PanelWeights<Steps, T> weights{panel};
    multiply_rows<Steps, T>(height, weights, steps, x + row * x_stride, x_stride, sums + row * T * kUnit, excess);
  });
}

// y of one block of rows and T tiles.
template <class Format, int T>
inline void panel_block(const MatMulTask& task, size_t tile, size_t first_row, size_t rows) {
  using Steps = typename Format::Steps;
  constexpr size_t kSlice = min_of(kSliceSteps, Steps::kMostSteps);
  constexpr size_t kSliceBlocks = kSlice / Format::kSteps;
  alignas(64) uint8_t panel[kSlice * T * kUnit];
  alignas(64) uint8_t sums[kRowBlock * T * kUnit];
  const Matrix& w = *task.weight;
  const uint8_t* x = task.x + first_row * task.x_stride;
  std::memset(sums, 0, rows * T * kUnit);
  for (size_t begin = 0; begin < w.blocks; begin += kSliceBlocks) {
    const size_t end = min_of(begin + kSliceBlocks, w.blocks);
    typename Steps::Sum excess[T];
    decode_slice<Format, T>(w, tile, begin, end, panel, excess);
    const size_t step = begin * Format::kSteps;
    multiply_slice<Steps, T>(panel, end * Format::kSteps - step, x + 4 * step, task.x_stride, rows, sums,
                             excess);
  }
  Columns columns[T];
#pragma GCC unroll 4
  for (int t = 0; t < T; ++t) columns[t] = load_columns(w, tile + static_cast<size_t>(t));
  // Row by row, so that the outputs of the tiles are written side by side: 128 rows of 768x3072 take 1600
  // instead of 1700 us.
  for (size_t row = 0; row < rows; ++row) {
#pragma GCC unroll 4
    for (int t = 0; t < T; ++t) {
      const uint8_t* sum = sums + (row * T + static_cast<size_t>(t)) * kUnit;
      const size_t task_row = first_row + row;
      finish(task, task_row, columns[t], Steps::value(sum, task.row_scale, task_row));
    }
  }
}

template <class Format>
inline void panel(const MatMulTask& task) {
  over_tiles<kPanelTiles>(task, [&](auto side_by_side, size_t tile) {
    for (size_t row = 0; row < task.rows; row += kRowBlock) {
      panel_block<Format, side_by_side>(task, tile, row, min_of(kRowBlock, task.rows - row));
    }
  });
}

}  // namespace regc::kernels::REGC_ISA
