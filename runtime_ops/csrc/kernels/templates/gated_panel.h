// Many rows of gated activations: a dense product with zeros for the inputs that do not pass.
//
// Weights lie input by input, as those of any matrix product, and are gathered a slice of inputs of a few tiles at a
// time into a panel in L1. Every input of it lies on another page, which takes time to find and on which the hardware
// does not look ahead: a task has many tiles side by side, which share the pages, and asks for all of them of the next
// slice, input after input, while it multiplies by this one.
#pragma once

namespace regc::kernels::REGC_ISA {

// How the weights of a storage type are read: kInputs of a step of Steps, of kBytes a tile, and step(), which turns the
// weights of T tiles for one step, of which `some` are inputs, into T vectors. Where those hold the outputs of the
// tiles in another order, turn() mends it.
template <class Rows>
struct Gather {
  using Steps = FloatSteps;
  static constexpr size_t kInputs = 1;
  static constexpr size_t kBytes = Rows::kBytes;
  static constexpr size_t kMostSteps = 128;

  // Inputs of a slice, of each of which `bytes` are gathered: so few that a slice and the next stay in L2, and with few
  // rows fewer, so that the next is asked for in long runs all the time.
  static size_t slice(size_t bytes, size_t rows) {
    const size_t whole = rows > kGatedRowBlock / 2 ? 256 * 1024 : 160 * 1024;
    return min_of(whole / bytes, kMostSteps);
  }

  template <int T>
  REGC_INLINE void step(const uint8_t* values, size_t, size_t, F16 (&weight)[T]) {
    if constexpr (T == 4) {
      Rows::load(values, weight);
    } else {
      weight[0] = Rows::load_one(values);
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

// Asks for the weights of the next slice, a line of memory after the other: evenly over the steps of this one. At once
// they would hold all fill buffers of L1, which the product needs for x.
struct NextSlice {
  const uint8_t* input;
  size_t stride;
  size_t lines;  // of an input
  size_t rate;   // lines a step, in 1 / kOne
  size_t credit;
  size_t line;
  static constexpr size_t kOne = size_t{1} << 16;

  REGC_INLINE void ask(NextSlice& next) {
    for (next.credit += next.rate; next.credit >= kOne; next.credit -= kOne) {
      __builtin_prefetch(next.input + next.line * 64, 0, 2);
      if (++next.line < next.lines) continue;
      next.line = 0;
      next.input += next.stride;
    }
  }
};

// The weights of T tiles as the first rows take them: from where they are stored, and on into a panel for the others.
template <class Gather, int T>
struct Stored {
  const uint8_t* values;
  size_t stride;
  size_t left;  // inputs
  uint8_t* panel;
  NextSlice next;

  REGC_INLINE void take(Stored& from, typename Gather::Steps::Weight (&weight)[T]) {
    constexpr size_t kInputs = Gather::kInputs;
    NextSlice::ask(from.next);
    Gather::template step<T>(from.values, from.stride, from.left, weight);
#pragma GCC unroll 4
    for (size_t t = 0; t < T; ++t) Gather::Steps::store(from.panel + t * kUnit, weight[t]);
    from.values += kInputs * from.stride;
    from.left -= kInputs;
    from.panel += T * kUnit;
  }
};

// The same as all others take them.
template <class Gather, int T>
struct Gathered {
  using Panel = PanelWeights<typename Gather::Steps, T>;
  Panel panel;
  NextSlice next;
  REGC_INLINE void take(Gathered& from, typename Gather::Steps::Weight (&weight)[T]) {
    NextSlice::ask(from.next);
    Panel::take(from.panel, weight);
  }
};

// What follows the sums of the rows of one panel.
template <class Gather, int T>
REGC_INLINE void finish_panel(const GatedTask& task, size_t tile, size_t first_row, size_t rows, const uint8_t* sums) {
  Columns columns[T];
  for (size_t t = 0; t < T; ++t) columns[t] = load_columns(*task.weight, tile + t);
  for (size_t row = first_row; row < first_row + rows; ++row, sums += T * kUnit) {
    F16 sum[T];
    for (size_t t = 0; t < T; ++t) sum[t] = Gather::Steps::value(sums + t * kUnit, task.row_scale, row);
    Gather::template turn<T>(sum);
    for (size_t t = 0; t < T; ++t) finish(task, row, columns[t], sum[t]);
  }
}

// A slice of the weights of some panels of T tiles times all rows of a block; `next` is for the slice after it.
template <class Gather, int T>
inline void gated_slice(const uint8_t* values, size_t inputs, size_t panels, NextSlice next,
                        const GatedRows& x, size_t rows, uint8_t* sums) {
  using Steps = typename Gather::Steps;
  alignas(64) uint8_t panel[Gather::kMostSteps * T * kUnit];
  const size_t steps = ceil_div(inputs, Gather::kInputs);
  typename Steps::Sum excess[T];
  for (int t = 0; t < T; ++t) excess[t] = Steps::zero();
  for (size_t p = 0; p < panels; ++p, values += T * Gather::kBytes) {
    over_rows(rows, [&](size_t row, size_t height) {
      const uint8_t* x_rows = x.x + row * x.stride;
      uint8_t* row_sums = sums + (p * rows + row) * T * kUnit;
      if (row == 0) {
        Stored<Gather, T> stored{values, next.stride, inputs, panel, next};
        multiply_rows<Steps, T>(height, stored, steps, x_rows, x.stride, row_sums, excess);
        next = stored.next;
      } else {
        Gathered<Gather, T> gathered{{panel}, next};
        multiply_rows<Steps, T>(height, gathered, steps, x_rows, x.stride, row_sums, excess);
        next = gathered.next;
      }
    });
  }
}

// y of a block of rows and of some panels of T tiles.
template <class Gather, int T>
inline void gated_block(const GatedTask& task, const GatedRows& in, size_t tile, size_t panels, size_t first_row,
                        size_t rows, uint8_t* sums) {
  const GatedMatrix& w = *task.weight;
  const size_t tiles = ceil_div(w.outputs, kTile);
  const size_t stride = tiles * Gather::kBytes;
  const size_t slice = Gather::slice(panels * T * Gather::kBytes, rows);
  const size_t lines = ceil_div(panels * T * Gather::kBytes, 64);
  const size_t passes = panels * ceil_div(rows, kPanelRows);
  const uint8_t* values = w.values + tile * Gather::kBytes;
  std::memset(sums, 0, panels * rows * T * kUnit);
  for (size_t begin = 0; begin < w.inputs; begin += slice, values += slice * stride) {
    const size_t count = min_of(slice, w.inputs - begin);
    const bool last = begin + count == w.inputs;
    const size_t after = last ? (tile + panels * T < tiles ? min_of(slice, w.inputs) : 0) : w.inputs - begin - count;
    const size_t rate = lines * min_of(slice, after) * NextSlice::kOne / (ceil_div(count, Gather::kInputs) * passes);
    const uint8_t* follow = last ? w.values + (tile + panels * T) * Gather::kBytes : values + slice * stride;
    const NextSlice next{follow, stride, lines, rate, 0, 0};
    const GatedRows x{in.x + first_row * in.stride + begin / Gather::kInputs * 4, in.stride};
    gated_slice<Gather, T>(values, count, panels, next, x, rows, sums);
  }
  for (size_t p = 0; p < panels; ++p)
    finish_panel<Gather, T>(task, tile + p * T, first_row, rows, sums + p * rows * T * kUnit);
}

template <class Gather>
inline void gated_blocks(const GatedTask& task, const GatedRows& in) {
  static_assert(kPanelTiles == 4 || kPanelTiles == 1, "what a step gathers");
  alignas(64) uint8_t sums[kGatedSums * kUnit];
  for (size_t row = 0; row < task.rows; row += kGatedRowBlock) {
    const size_t rows = min_of(kGatedRowBlock, task.rows - row);
    const size_t most = min_of(kGatedPanelTiles, kGatedSums / rows) / kPanelTiles;
    size_t tile = task.tile_begin;
    while (task.tile_end - tile >= kPanelTiles) {
      const size_t panels = min_of(most, (task.tile_end - tile) / kPanelTiles);
      gated_block<Gather, kPanelTiles>(task, in, tile, panels, row, rows, sums);
      tile += panels * kPanelTiles;
    }
    for (; tile < task.tile_end; ++tile) gated_block<Gather, 1>(task, in, tile, 1, row, rows, sums);
  }
}

template <class Rows>
inline void panel_gated(const GatedTask& task) {
  gated_blocks<Gather<Rows>>(task, {reinterpret_cast<const uint8_t*>(task.x), task.x_stride * sizeof(float)});
}

}  // namespace regc::kernels::REGC_ISA
