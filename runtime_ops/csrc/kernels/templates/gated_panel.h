// Many rows of gated activations: a dense product with zeros for the inputs that do not pass.
//
// Weights lie input by input, as those of any matrix product, and are gathered a slice of inputs of a few tiles at a
// time into a panel in L1. Every input of it lies on another page, where the hardware does not look ahead: a panel is
// asked for while the one before is multiplied, and a task has many tiles side by side, which share the pages.
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

// Asks for the weights of the next panel, a line of memory after the other, kLines of each input: evenly over the steps
// of a product. At once they would hold all fill buffers of L1, which the product needs for x.
template <size_t kLinesOfInput>
struct NextPanel {
  static constexpr size_t kLines = kLinesOfInput;
  const uint8_t* input;
  size_t stride;
  size_t rate;  // lines a step, in 1 / kOne
  size_t credit;
  size_t line;
  static constexpr size_t kOne = size_t{1} << 16;

  REGC_INLINE void ask(NextPanel& next) {
    next.credit += next.rate;
    if (next.credit < kOne) return;
    next.credit -= kOne;
    __builtin_prefetch(next.input + next.line * 64, 0, 2);
    if (++next.line < kLines) return;
    next.line = 0;
    next.input += next.stride;
  }
};

// The weights of T tiles as the first rows take them: from where they are stored, and on into a panel for the others.
template <class Gather, int T>
struct Stored {
  using Next = NextPanel<ceil_div(T * Gather::kBytes, 64)>;
  const uint8_t* values;
  size_t stride;
  size_t left;  // inputs
  uint8_t* panel;
  Next next;

  REGC_INLINE void take(Stored& from, typename Gather::Steps::Weight (&weight)[T]) {
    constexpr size_t kInputs = Gather::kInputs;
    Next::ask(from.next);
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
  using Next = typename Stored<Gather, T>::Next;
  Panel panel;
  Next next;
  REGC_INLINE void take(Gathered& from, typename Gather::Steps::Weight (&weight)[T]) {
    Next::ask(from.next);
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

// y of a block of rows and of `panels` panels of T tiles, at most kPanels.
template <class Gather, int T, size_t kPanels>
inline void gated_block(const GatedTask& task, const GatedRows& in, size_t tile, size_t panels, size_t first_row,
                        size_t rows) {
  using Steps = typename Gather::Steps;
  constexpr size_t kSlice = min_of(kSliceSteps, Steps::kMostSteps) * Gather::kInputs;
  constexpr size_t kRun = T * Gather::kBytes;
  using Next = typename Stored<Gather, T>::Next;
  alignas(64) uint8_t panel[kSlice / Gather::kInputs * T * kUnit];
  alignas(64) uint8_t sums[kPanels][kGatedRowBlock * T * kUnit];
  const GatedMatrix& w = *task.weight;
  const size_t stride = ceil_div(w.outputs, kTile) * Gather::kBytes;
  const uint8_t* values = w.values + tile * Gather::kBytes;
  typename Steps::Sum excess[T];
  for (int t = 0; t < T; ++t) excess[t] = Steps::zero();
  for (size_t p = 0; p < panels; ++p) std::memset(sums[p], 0, rows * T * kUnit);
  for (size_t begin = 0; begin < w.inputs; begin += kSlice, values += kSlice * stride) {
    const size_t count = min_of(kSlice, w.inputs - begin);
    const size_t steps = ceil_div(count, Gather::kInputs);
    const uint8_t* x = in.x + first_row * in.stride + begin / Gather::kInputs * 4;
    for (size_t p = 0; p < panels; ++p) {
      const bool last = p + 1 == panels;
      const size_t lines = Next::kLines * (last ? min_of(kSlice, w.inputs - begin - count) : count);
      const size_t rate = lines * Next::kOne / (steps * ceil_div(rows, kPanelRows));
      const Next next{last ? values + kSlice * stride : values + (p + 1) * kRun, stride, rate, 0, 0};
      Stored<Gather, T> stored{values + p * kRun, stride, count, panel, next};
      Gathered<Gather, T> gathered{{panel}, next};
      over_rows(rows, [&](size_t row, size_t height) {
        const uint8_t* x_rows = x + row * in.stride;
        uint8_t* row_sums = sums[p] + row * T * kUnit;
        if (row == 0) {
          multiply_rows<Steps, T>(height, stored, steps, x_rows, in.stride, row_sums, excess);
          gathered.next = stored.next;
        } else {
          gathered.panel.panel = panel;
          multiply_rows<Steps, T>(height, gathered, steps, x_rows, in.stride, row_sums, excess);
        }
      });
    }
  }
  for (size_t p = 0; p < panels; ++p) finish_panel<Gather, T>(task, tile + p * T, first_row, rows, sums[p]);
}

template <class Gather>
inline void gated_blocks(const GatedTask& task, const GatedRows& in) {
  static_assert(kPanelTiles == 4 || kPanelTiles == 1, "what a step gathers");
  constexpr size_t kPanels = kGatedPanelTiles / kPanelTiles;
  for (size_t row = 0; row < task.rows; row += kGatedRowBlock) {
    const size_t rows = min_of(kGatedRowBlock, task.rows - row);
    size_t tile = task.tile_begin;
    while (task.tile_end - tile >= kPanelTiles) {
      const size_t panels = min_of(kPanels, (task.tile_end - tile) / kPanelTiles);
      gated_block<Gather, kPanelTiles, kPanels>(task, in, tile, panels, row, rows);
      tile += panels * kPanelTiles;
    }
    for (; tile < task.tile_end; ++tile) gated_block<Gather, 1, 1>(task, in, tile, 1, row, rows);
  }
}

template <class Rows>
inline void panel_gated(const GatedTask& task) {
  gated_blocks<Gather<Rows>>(task, {reinterpret_cast<const uint8_t*>(task.x), task.x_stride * sizeof(float)});
}

}  // namespace regc::kernels::REGC_ISA
