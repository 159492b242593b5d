// Weights stored input by input, of which a row of x uses only the inputs that pass its gate. Every output is
// one chain of fused multiply-adds over them in ascending order. A dense product of x with zeros in place of
// the others adds zeros to the same chain, so that streams and panels agree.
#pragma once

namespace regc::kernels::REGC_ISA {

inline void gate(const GateTask& task) {
  const GatedMatrix& w = *task.weight;
  for (size_t row = 0; row < task.rows; ++row) {
    const size_t first = row * w.inputs;
    const float* x = task.x + first;
    for (size_t k = 0; task.gated != nullptr && k < w.inputs; ++k)
      task.gated[first + k] = std::fabs(x[k]) * w.norms[k] < w.threshold ? 0.0F : x[k];
    size_t count = 0;
    for (size_t k = 0; task.kept != nullptr && k < w.inputs; ++k) {
      task.kept[first + count] = x[k];
      task.place[first + count] = static_cast<uint32_t>(k);
      count += std::fabs(x[k]) * w.norms[k] < w.threshold ? 0 : 1;  // no branch: it could not be foretold
    }
    if (task.kept != nullptr) task.count[row] = count;
  }
}

// Adds the inputs whose weights start at `weights` to the sums of some tiles. `next` are the inputs after them:
// where they lie, the hardware cannot foresee.
template <class Rows, size_t kInputs>
REGC_INLINE void add_inputs(const uint8_t* const (&weights)[kInputs], const uint8_t* const (&next)[kInputs],
                            const float* x, size_t tiles, float* sums) {
  constexpr size_t kTiles = 4;
  F16 activation[kInputs];
#pragma GCC unroll 8
  for (size_t i = 0; i < kInputs; ++i) activation[i] = fill_f(x[i]);
  size_t tile = 0;
  for (; tile + kTiles <= tiles; tile += kTiles) {
    const size_t byte = tile * Rows::kBytes;
    F16 sum[kTiles];
#pragma GCC unroll 4
    for (size_t t = 0; t < kTiles; ++t) sum[t] = load_f(sums + (tile + t) * kTile);
#pragma GCC unroll 8
    for (size_t i = 0; i < kInputs; ++i) {
      F16 weight[kTiles];
      for (size_t ahead = 0; ahead < 4 * Rows::kBytes; ahead += 64) __builtin_prefetch(next[i] + byte + ahead);
      Rows::load(weights[i] + byte, weight);
#pragma GCC unroll 4
      for (size_t t = 0; t < kTiles; ++t) sum[t] = fma_f(weight[t], activation[i], sum[t]);
    }
#pragma GCC unroll 4
    for (size_t t = 0; t < kTiles; ++t) store_f(sums + (tile + t) * kTile, sum[t]);
  }
  for (; tile < tiles; ++tile) {
    F16 sum = load_f(sums + tile * kTile);
#pragma GCC unroll 8
    for (size_t i = 0; i < kInputs; ++i)
      sum = fma_f(Rows::load_one(weights[i] + tile * Rows::kBytes), activation[i], sum);
    store_f(sums + tile * kTile, sum);
  }
}

// Adds the kept inputs of a row from i on, in eights, as long as they lie before input `end`. Returns the first
// that is left.
template <class Rows>
REGC_INLINE size_t add_slice(const uint8_t* values, size_t stride, const uint32_t* place, const float* x, size_t i,
                             size_t count, size_t end, size_t tiles, float* sums) {
  constexpr size_t kInputs = 8;
  for (; i + kInputs <= count && place[i + kInputs - 1] < end; i += kInputs) {
    const uint8_t* weights[kInputs];
    const uint8_t* next[kInputs];
    for (size_t j = 0; j < kInputs; ++j) {
      weights[j] = values + place[i + j] * stride;
      next[j] = values + place[min_of(i + kInputs + j, count - 1)] * stride;
    }
    add_inputs<Rows, kInputs>(weights, next, x + i, tiles, sums);
  }
  return i;
}

template <class Rows>
inline void stream_gated(const GatedTask& task) {
  constexpr size_t kSlice = 64;  // inputs whose weights stay in L2 while all rows use them
  alignas(64) float sums[kGatedRows][kGatedTiles * kTile];
  size_t done[kGatedRows] = {};
  const GatedMatrix& w = *task.weight;
  const size_t tiles = task.tile_end - task.tile_begin;
  const size_t stride = ceil_div(w.outputs, kTile) * Rows::kBytes;
  const uint8_t* values = w.values + task.tile_begin * Rows::kBytes;
  for (size_t row = 0; row < task.rows; ++row) std::memset(sums[row], 0, tiles * kTile * sizeof(float));
  const size_t slice = task.rows == 1 ? w.inputs : kSlice;
  for (size_t begin = 0; begin < w.inputs; begin += slice) {
    for (size_t row = 0; row < task.rows; ++row) {
      done[row] = add_slice<Rows>(values, stride, task.place + row * w.inputs, task.x + row * w.inputs, done[row],
                                  task.count[row], begin + slice, tiles, sums[row]);
    }
  }
  for (size_t row = 0; row < task.rows; ++row) {
    for (size_t i = done[row]; i < task.count[row]; ++i) {
      const uint8_t* const weights[1] = {values + task.place[row * w.inputs + i] * stride};
      add_inputs<Rows, 1>(weights, weights, task.x + row * w.inputs + i, tiles, sums[row]);
    }
    for (size_t t = 0; t < tiles; ++t)
      finish(task, row, load_columns(w, task.tile_begin + t), load_f(sums[row] + t * kTile));
  }
}

// How a panel of a storage type is made: kInputs of a step of Steps, and slice(), which gathers inputs [begin, end)
// of T tiles to [steps][T] vectors. Where those hold the outputs of the tiles in another order, turn() mends it.
template <class Rows>
struct Gather {
  using Steps = FloatSteps;
  static constexpr size_t kInputs = 1;
  static constexpr size_t kAhead = 16;  // inputs: each lies on another page, where the hardware does not look ahead

  template <int T>
  REGC_INLINE void slice(const GatedMatrix& w, size_t tile, size_t begin, size_t end, uint8_t* panel) {
    const size_t stride = ceil_div(w.outputs, kTile) * Rows::kBytes;
    const uint8_t* values = w.values + begin * stride + tile * Rows::kBytes;
    for (size_t k = begin; k < end; ++k, values += stride, panel += T * kUnit) {
      for (size_t byte = 0; byte < T * Rows::kBytes; byte += 64) __builtin_prefetch(values + kAhead * stride + byte);
      if constexpr (T == 4) {
        F16 weight[4];
        Rows::load(values, weight);
#pragma GCC unroll 4
        for (size_t t = 0; t < 4; ++t) Steps::store(panel + t * kUnit, weight[t]);
      } else {
        Steps::store(panel, Rows::load_one(values));
      }
    }
  }
  template <int T>
  REGC_INLINE void turn(F16 (&)[T]) {}
};

// Rows of activations of a panel: 4 bytes a step.
struct GatedRows {
  const uint8_t* x;
  size_t stride;  // bytes
};

template <class Gather, int T>
inline void gated_block(const GatedTask& task, const GatedRows& in, size_t tile, size_t first_row, size_t rows) {
  using Steps = typename Gather::Steps;
  constexpr size_t kSlice = min_of(kSliceSteps, Steps::kMostSteps);
  alignas(64) uint8_t panel[kSlice * T * kUnit];
  alignas(64) uint8_t sums[kRowBlock * T * kUnit];
  const GatedMatrix& w = *task.weight;
  typename Steps::Sum excess[T];
  for (int t = 0; t < T; ++t) excess[t] = Steps::zero();
  std::memset(sums, 0, rows * T * kUnit);
  for (size_t begin = 0; begin < w.inputs; begin += kSlice * Gather::kInputs) {
    const size_t end = min_of(begin + kSlice * Gather::kInputs, w.inputs);
    Gather::template slice<T>(w, tile, begin, end, panel);
    multiply_slice<Steps, T>(panel, ceil_div(end - begin, Gather::kInputs),
                             in.x + first_row * in.stride + begin / Gather::kInputs * 4, in.stride, rows, sums,
                             excess);
  }
  Columns columns[T];
  for (size_t t = 0; t < T; ++t) columns[t] = load_columns(w, tile + t);
  for (size_t row = first_row; row < first_row + rows; ++row) {
    F16 sum[T];
    for (size_t t = 0; t < T; ++t)
      sum[t] = Steps::value(sums + ((row - first_row) * T + t) * kUnit, task.row_scale, row);
    Gather::template turn<T>(sum);
    for (size_t t = 0; t < T; ++t) finish(task, row, columns[t], sum[t]);
  }
}

template <class Gather>
inline void gated_blocks(const GatedTask& task, const GatedRows& in) {
  static_assert(kPanelTiles == 4 || kPanelTiles == 1, "what slices gather");
  over_tiles<kPanelTiles>(task, [&](auto side_by_side, size_t tile) {
    for (size_t row = 0; row < task.rows; row += kRowBlock)
      gated_block<Gather, side_by_side>(task, in, tile, row, min_of(kRowBlock, task.rows - row));
  });
}

template <class Rows>
inline void panel_gated(const GatedTask& task) {
  gated_blocks<Gather<Rows>>(task,
                             {reinterpret_cast<const uint8_t*>(task.x), task.weight->inputs * sizeof(float)});
}

}  // namespace regc::kernels::REGC_ISA
